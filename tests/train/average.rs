//! The moving average of the generator: its rule, and that training neither notices it nor loses it.

use super::room::{Room, config};
use rvc_run::models::{Synthesizer, SynthesizerConfig};
use rvc_run::nn::generator::seeded;
use rvc_run::task::Task;
use rvc_run::torchfile;
use rvc_run::train::average::Average;
use rvc_run::train::{checkpoint, export};
use rvc_run::{Error, Kind};
use serde_json::json;
use tch::{Device, Tensor};

#[test]
fn the_average_follows_its_rule_and_replaces_the_weights_only_temporarily() {
    let sizes = SynthesizerConfig::from_config(&config(json!({})));
    let network = Synthesizer::new(&sizes, Device::Cpu, 1).unwrap();
    let key = "emb_g.weight";
    let now = || network.params().get(key).unwrap().detach().copy();
    let mut average = Average::new(network.params(), 0.5).unwrap();
    let mut expected = now();
    for t in 0..12_i32 {
        let step = {
            let _drawing = seeded(t.into());
            Tensor::randn_like(&expected)
        };
        tch::no_grad(|| drop(network.params().get(key).unwrap().shallow_clone().g_add_(&step)));
        average.update().unwrap();
        // (1 + t) / (10 + t) is below 0.5 until t = 8.
        let decay = f64::min(0.5, (1.0 + f64::from(t)) / (10.0 + f64::from(t)));
        expected = &expected * decay + now() * (1.0 - decay);
    }
    let weights = now();
    let near = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]) < 1e-6;
    let standing = average.with_averaged_weights(|| Ok(now())).unwrap();
    assert!(near(&standing, &expected) && !near(&standing, &weights));
    assert!(now().equal(&weights), "the weights are not back");
    let error = average.with_averaged_weights(|| Err::<(), _>(Error::new(Kind::Internal, "no"))).unwrap_err();
    assert!(error.kind() == Kind::Internal && now().equal(&weights), "after an error the weights are not back");
}

#[test]
#[ignore = "slow: three trainings"]
fn a_training_is_the_same_with_an_average_which_a_resume_carries_on() {
    let averaged = config(json!({ "ema_decay": 0.6 }));
    let (plain, undisturbed, resumed) = (Room::new(), Room::new(), Room::new());
    let (losses, _) = plain.train(&config(json!({})), 2);
    let (losses_beside, _) = undisturbed.train(&averaged, 2);
    for (a, b) in losses.iter().zip(&losses_beside) {
        assert_eq!(a.get("loss_mel"), b.get("loss_mel"));
    }
    assert!(!checkpoint::average_path(&plain.logs(), 2).exists());
    resumed.train(&averaged, 1);
    resumed.train(&averaged, 2);
    assert!(resumed.bytes("EMA_2.pth") == undisturbed.bytes("EMA_2.pth"));
    let tensor = |room: &Room, name: &str| {
        let file = torchfile::read(&room.path(name)).unwrap();
        file.tensor("model.emb_g.weight").unwrap()
    };
    assert!(!tensor(&undisturbed, "EMA_2.pth").equal(&tensor(&undisturbed, "G_2.pth")));

    // Both are validated, and each is exported under its own name.
    let task = Task::silent();
    let mut trainer = undisturbed.open(&task, &averaged, false).unwrap();
    let judged = trainer.validate(&task, &mut undisturbed.data(&averaged), None).unwrap();
    let [own, ema] = ["validation_loss_mel", "validation_loss_mel_ema"].map(|name| judged.get(name).unwrap());
    assert!(own > 0.0 && ema > 0.0 && (own - ema).abs() > 1e-9, "{judged:?}");
    drop(trainer);
    for (name, averaged) in [("own.pth", false), ("ema.pth", true)] {
        export::from_checkpoint(&undisturbed.logs(), 2, averaged, &undisturbed.path(name)).unwrap();
    }
    assert!(undisturbed.bytes("own.pth") != undisturbed.bytes("ema.pth"));
    let error = export::from_checkpoint(&plain.logs(), 2, true, &plain.path("ema.pth")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);

    // A checkpoint is whole with its average only.
    std::fs::remove_file(undisturbed.path("EMA_2.pth")).unwrap();
    assert_eq!(checkpoint::verify(&undisturbed.logs(), 2).unwrap_err().kind(), Kind::CheckpointDamaged);
    assert_eq!(undisturbed.open(&task, &averaged, false).unwrap().epoch(), 1, "the newest that is whole");
}
