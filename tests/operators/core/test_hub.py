"""Checkpoints on the Hugging Face hub: pushed, downloaded once, used again without a network.

The library reads its address when it is imported, so that this happens in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hub import serving

from pelagos.operators import create

SMALL = {"ndim": 1, "hidden": 4, "layers": 1, "modes": 3}

ONLINE = """
import json, sys
from pelagos.operators import from_pretrained

def opened(name):
    try:
        return from_pretrained(f"hf:{name}").lift.weight.double().sum().item()
    except ValueError as error:
        return str(error)

said = {"pushed": from_pretrained(sys.argv[1]).push_to_hub("me/small")}
said |= {name: opened(name) for name in ("me/small", "me/damaged", "me/nothing")}
said["again"] = opened("me/small")
print(json.dumps(said))
"""

AGAIN = """
import sys
from pelagos.operators import from_pretrained
print(from_pretrained("hf:me/small").lift.weight.double().sum().item())
"""


@pytest.fixture
def hub():
    with serving() as found:
        yield found


def run(code, *arguments, endpoint, home, **more):
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": "none",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **more,
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_checkpoint_goes_to_the_hub_and_comes_back(hub, tmp_path):
    operator = create("dymixop", fields=("u",), seed=4, **SMALL)
    path = operator.save_pretrained(tmp_path / "small")
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    changed = bytearray(files["model.safetensors"])
    changed[-1] ^= 1
    damaged = {**files, "model.safetensors": bytes(changed), "notes.txt": b"for nobody"}
    hub.repositories["me/damaged"] = damaged
    said = run(ONLINE, path, endpoint=hub.url, home=tmp_path / "home")
    assert said["pushed"].startswith(f"{hub.url}/me/small")
    assert hub.repositories["me/small"] == files
    assert len(hub.uploads()) == 1  # the weights, by LFS
    assert said["me/small"] == operator.lift.weight.detach().double().sum().item()
    assert "is damaged: it is not the file whose SHA-256" in said["me/damaged"]
    assert said["me/nothing"].startswith("no model me/nothing on the Hugging Face hub")
    assert said["again"] == said["me/small"]
    downloads = [line for line in hub.downloads() if "me/small" in line]
    assert len({*downloads}) == len(downloads) == len(files)  # the second time from the cache
    assert not any("notes.txt" in line for line in hub.requests)

    offline = {"endpoint": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    assert run(AGAIN, home=tmp_path / "home", **offline) == said["me/small"]
