#!/usr/bin/env python3
"""Prints what MLflow's own client finds at a tracking URI, as JSON: every run with its params, tags, points and artefacts' digests.

    python tests/support/mlflow_dump.py http://127.0.0.1:5000
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import mlflow
from mlflow.tracking import MlflowClient


def number(value: float) -> object:
    """NaN as the text that the event log has."""
    return "NaN" if value != value else value


def artifacts(client: MlflowClient, run_id: str, folder: str) -> dict[str, str]:
    local = client.download_artifacts(run_id, "", folder)
    files = [path for path in pathlib.Path(local).rglob("*") if path.is_file()]
    return {str(path.relative_to(local)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    mlflow.set_tracking_uri(sys.argv[1])
    client = MlflowClient(sys.argv[1])
    runs = []
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
            with tempfile.TemporaryDirectory() as folder:
                listed = client.list_artifacts(run.info.run_id)
                digests = artifacts(client, run.info.run_id, folder) if listed else {}
            runs.append({
                "experiment": experiment.name,
                "name": run.info.run_name,
                "id": run.info.run_id,
                "run_id": run.info.run_id,
                "status": run.info.status,
                "params": run.data.params,
                "tags": run.data.tags,
                "points": sorted([key, m.step, m.timestamp, number(m.value)] for key, ms in history.items() for m in ms),
                "artifacts": digests,
            })
    json.dump(runs, sys.stdout)


if __name__ == "__main__":
    main()
