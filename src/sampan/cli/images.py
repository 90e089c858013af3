"""`images`, `import`: what functions are made of."""

from pathlib import Path
from typing import Annotated

import typer

from sampan.cli.failures import Code, CommandFailed
from sampan.cli.options import OutputOption
from sampan.cli.screen import Cell, Output, json, say, size, table
from sampan.cli.session import session


def images(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the images on the platform's machine."""
    with session(context).client() as client:
        found = client.images()
    if output is Output.JSON:
        json(found)
        return
    table(
        ("IMAGE", "DIGEST", "SIZE", "USED BY"),
        (
            (
                Cell(each.reference, "bold"),
                each.digest.partition(":")[2][:12],
                size(each.size),
                ", ".join(each.functions),
            )
            for each in found
        ),
        empty="no images yet; push one to the registry, or `sampan import PATH`",
    )


def import_(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="A tar of `docker save`, or an OCI layout: a tar or a directory.", exists=True)
    ],
    target: Annotated[
        str | None, typer.Argument(metavar="NAME:TAG", help="Default: the file's name.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put an image from a file into the platform's own registry."""
    host = session(context).found()["registry"].value
    if not host:
        raise CommandFailed(
            "no registry is known",
            Code.UNREACHABLE,
            "`sampan up` starts one; or set SAMPAN_REGISTRY to its host:port",
        )
    reference = f"{host}/{target or default_name(path)}"
    import asyncio

    digest = asyncio.run(_push(path, reference))
    if output is Output.JSON:
        json({"image": reference, "digest": digest})
        return
    say(f"Imported {reference}", style="green")
    say(f"→ sampan deploy NAME --image {reference}", style="dim")


def default_name(path: Path) -> str:
    """A name made from the file's, in the alphabet of image names."""
    stem = path.resolve().name
    for ending in (".gz", ".tgz", ".tar", ".oci"):
        stem = stem.removesuffix(ending)
    letters = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in stem.lower())
    return ("-".join(part for part in letters.split("-") if part) or "image") + ":latest"


async def _push(path: Path, reference: str) -> str:
    from sampan.cli.progress import Arrival
    from sampan.image.archive import push_archive
    from sampan.image.reference import Reference
    from sampan.image.registry import Registry

    target = Reference.parse(reference)
    with Arrival("reading the archive") as arrival:
        async with Registry(target.api_host) as registry:
            return await push_archive(path, target, registry, lambda part: arrival.show((part,)))
