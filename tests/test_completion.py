"""Shell completion: by the protocol, and in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from photoage.cli import COMMANDS, cli

pytestmark = pytest.mark.slow

PROGRAM = Path(sys.executable).with_name("photoage")
HEAVY = {"torch", "insightface", "onnxruntime", "sqlalchemy", "alembic", "cv2", "numpy", "rich", "PIL"}


def completions(words: str) -> list[str]:
    """What the program answers to a shell in which these words, the last unfinished, were typed."""
    typed = words.split(" ")
    env = {"COMP_WORDS": words, "COMP_CWORD": str(len(typed) - 1), "_PHOTOAGE_COMPLETE": "bash_complete"}
    done = subprocess.run([PROGRAM], env={**os.environ, **env}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_and_choices_are_completed() -> None:
    assert completions("photoage ") == list(COMMANDS)
    assert completions("photoage db b") == ["backup"]
    assert completions("photoage query --min-") == [
        "--min-age",
        "--min-faces",
        "--min-score",
        "--min-sharpness",
    ]
    assert completions("photoage -q query --sort ") == ["path", "age", "date", "score", "interval", "faces"]
    assert completions("photoage nonsense ") == list(COMMANDS)


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom photoage.cli import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    env = {"COMP_WORDS": "photoage ", "COMP_CWORD": "1", "_PHOTOAGE_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True
    )
    assert "plain,scan" in done.stdout
    assert {name.split(".")[0] for name in done.stderr.split()} & HEAVY == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_every_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"_PHOTOAGE_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_works_in_bash() -> None:
    words = 'eval "$(photoage completion bash)"; COMP_WORDS=(photoage qu) COMP_CWORD=1'
    env = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{words}; _photoage_completion photoage; echo ${{COMPREPLY[@]}}"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("query\n", "")
