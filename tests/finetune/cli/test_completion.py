"""`pelagos completion`: what a shell offers."""

import shutil
import subprocess

import pytest

from pelagos.finetune.cli.console import COMMANDS, main

OFFER = """
source {script}
function=$(complete -p pelagos | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=({words} "{last}") COMP_CWORD={place} COMPREPLY=()
$function
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def offer(tmp_path_factory):
    """What bash offers after some words, for the beginning of another."""
    script = tmp_path_factory.mktemp("completion") / "pelagos"

    def offered(words, last):
        place = len(words.split())
        text = OFFER.format(script=script, words=words, last=last, place=place)
        done = subprocess.run(
            ["bash", "--norc", "-c", text], check=True, capture_output=True, text=True
        )
        return set(done.stdout.split())

    return script, offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_choices(offer, capsys):
    script, offered = offer
    main(["completion", "bash"])
    script.write_text(capsys.readouterr().out)
    assert offered("pelagos", "") == {name.split()[0] for name in COMMANDS}
    assert offered("pelagos recipe", "s") == {"show", "schema"}
    assert "--steps" in offered("pelagos evaluate", "--st")
    assert offered("pelagos data simulate --on-blowup", "") == {"refuse", "redraw"}
