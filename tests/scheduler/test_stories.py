"""Each file under stories/ is a conversation with the core; what it decides must be what is written there.

After a wanted change of policy: `python -m tests.scheduler.test_stories` rewrites them, and the diff is read.
"""

from pathlib import Path

import pytest

from tests.scheduler.story import play

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_the_core_decides_as_told(story: Path) -> None:
    assert play(story) == story.read_text()


if __name__ == "__main__":
    for path in STORIES:
        path.write_text(play(path))
