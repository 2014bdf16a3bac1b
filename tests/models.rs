//! The networks, spectra and losses against the Python reference's numbers, full size.

mod support;

use tch::Tensor;

/// Last digits printed in the golden README are float32 ones.
const PRINTED: f64 = 1e-7;

#[test]
fn the_weight_rule_gives_the_printed_check_values() {
    let shapes = [
        ("dec.conv_pre.weight", vec![512, 192, 7]),
        ("enc_p.encoder.norm_layers_1.0.gamma", vec![192]),
        ("dec.ups.0.weight_g", vec![512, 1, 1]),
        ("dec.ups.0.weight_v", vec![512, 256, 16]),
    ];
    let expected = [
        [-0.040_617_69, -0.019_985_75, -0.007_336_383_7],
        [0.971_585_5, 1.071_882_8, 1.064_493],
        [2.929_629_8, 3.365_026_2, 3.320_613_9],
        [0.003_454_586_7, -0.031_967_018, 0.019_981_615],
    ];
    let filled = support::fill_rule("", &shapes);
    for ((values, expected), (key, _)) in filled.iter().zip(expected).zip(&shapes) {
        let expected: [f32; 3] = expected;
        support::assert_close(key, &Tensor::from_slice(&values[..3]), &Tensor::from_slice(&expected), 4.0 * PRINTED);
    }
    assert!((filled[0].last().unwrap() + 0.032_202_125).abs() < 1e-7);
    let salted = support::fill_rule("x:", &shapes[..1]);
    let expected = [-0.020_534_191f32, -0.025_528_675, 0.046_702_754];
    support::assert_close("salted", &Tensor::from_slice(&salted[0][..3]), &Tensor::from_slice(&expected), PRINTED);
}
