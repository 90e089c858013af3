"""Functions to test with, and what the scheduler does to them."""

from sampan.model.image import Image, ImageConfig
from sampan.wire.shapes import CreateFunctionInput, CustomContainerConfig


def function(name="web", image="nginx:1", **members):
    container = CustomContainerConfig(image=image, **members.pop("container", {}))
    return CreateFunctionInput(
        function_name=name, runtime="custom-container", custom_container_config=container, **members
    )


def pulled(reference="nginx:1", digest="sha256:1", ports=()):
    return Image(reference=reference, digest=digest, config=ImageConfig(exposed_ports=ports))


async def roll_out(catalog, digest="sha256:1", ports=()):
    """What the scheduler does with everything that is pending, without a sandbox."""
    for pending in await catalog.pending():
        await catalog.prepared(pending.function, pending.revision, pulled(pending.image, digest, ports))
        await catalog.activate(pending.function, pending.revision)


async def active(catalog, name="web", **members):
    await catalog.functions.create(function(name, **members))
    await roll_out(catalog)
    return await catalog.functions.get(name)
