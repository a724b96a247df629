"""Steps as ONNX, opened without Pelagos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from pelagos.finetune.cli.console import main  # noqa: E402  (optional)
from pelagos.operators import from_pretrained  # noqa: E402

CHECKPOINTS = Path(__file__).parents[2] / "earlier" / "checkpoints"
# What PyTorch's exporter says of its own versions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_loop_over_the_program_is_the_rollout(tmp_path, capsys):
    path = tmp_path / "step.onnx"
    main(["export", str(CHECKPOINTS / "dymixop"), str(path), "--format", "onnx", "--batch", "2"])
    assert "onnxruntime.InferenceSession" in capsys.readouterr().out
    step = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(step.get_modelmeta().custom_metadata_map["pelagos.json"])
    assert about["fields"] == ["u"]
    assert about["names"] == ["history", "first", "dt"]
    first = np.random.default_rng(0).standard_normal((2, 2, 1, 32)).astype(np.float32)
    operator = from_pretrained(CHECKPOINTS / "dymixop")
    expected = operator.rollout(torch.from_numpy(first), dt=0.02, steps=3)
    names, history = {one.name for one in step.get_inputs()}, first
    for frame in expected:
        given = {"history": history, "first": first, "dt": np.array(0.02, np.float32)}
        (fields,) = step.run(None, {k: v for k, v in given.items() if k in names})
        np.testing.assert_allclose(fields, frame.numpy(), rtol=1e-4, atol=1e-5)
        history = np.concatenate((history[:, 1:], fields[:, None]), 1)


def test_what_onnx_has_no_operation_for_is_refused_by_name(tmp_path, capsys):
    path = tmp_path / "step.onnx"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(CHECKPOINTS / "multiscale"), str(path), "--format", "onnx"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "this multiscale has operations" in said
    assert len(said.splitlines()) == 1
    assert not path.exists()
