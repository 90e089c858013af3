"""docs/settings.md, written from the settings themselves. `python -m tests.house.settings_page` rewrites it."""

from pathlib import Path
from typing import get_type_hints

import msgspec

from sampan.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

HEAD = """# Settings

Read once at start: built-in default, then the file given with `--config` (TOML, a section per heading
below), then the environment (`SAMPAN_<SECTION>_<FIELD>`), then flags (`--set section.field=value`).
`sampan config` shows what is in force and where each value comes from. An unknown name or a value out of range
stops the start and says so.
"""


def render() -> str:
    parts = [HEAD]
    for section, shape in get_type_hints(Settings).items():
        parts.append(f"\n## [{section}]\n\n{shape.__doc__}\n\n| field | default | meaning |\n|---|---|---|\n")
        described = msgspec.inspect.type_info(shape)
        assert isinstance(described, msgspec.inspect.StructType)
        for field in described.fields:
            meta = field.type
            assert isinstance(meta, msgspec.inspect.Metadata), f"{section}.{field.name} has no description"
            text = (meta.extra_json_schema or {})["description"]
            default = field.default if field.default != "" else "(empty)"
            parts.append(f"| `{field.name}` | `{default}` | {text} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
