"""FC's JSON of how many instances there may and must be: concurrency, provision, scaling.

Source: function-compute-api.md §7.6. As all shapes: absent members are `None`; what a value may be is decided in
`catalog/`.
"""

import msgspec

from sampan.wire.shapes import Shape, Unsupported


class PutConcurrencyInput(Shape, frozen=True):
    reserved_concurrency: int | None = None


class ConcurrencyConfig(Shape, frozen=True):
    function_arn: str
    reserved_concurrency: int


class ConcurrencyConfigs(Shape, frozen=True):
    configs: tuple[ConcurrencyConfig, ...]
    next_token: str | None = None


class PutProvisionConfigInput(Shape, frozen=True):
    default_target: int | None = None
    target: int | None = None
    always_allocate_cpu: bool | None = msgspec.field(default=None, name="alwaysAllocateCPU")
    always_allocate_gpu: bool | None = msgspec.field(default=None, name="alwaysAllocateGPU")
    scheduled_actions: tuple[Unsupported, ...] | None = None
    target_tracking_policies: tuple[Unsupported, ...] | None = None


class ProvisionConfig(Shape, frozen=True):
    function_arn: str
    default_target: int
    target: int
    current: int
    current_error: str | None = None
    always_allocate_cpu: bool | None = msgspec.field(default=None, name="alwaysAllocateCPU")
    always_allocate_gpu: bool | None = msgspec.field(default=None, name="alwaysAllocateGPU")


class ProvisionConfigs(Shape, frozen=True):
    provision_configs: tuple[ProvisionConfig, ...]
    next_token: str | None = None


class PutScalingConfigInput(Shape, frozen=True):
    min_instances: int | None = None
    enable_on_demand_scaling: bool | None = None
    enable_mix_mode: bool | None = None
    resident_pool_id: str | None = None
    request_dispatch_policy: str | None = None
    horizontal_scaling_policies: tuple[Unsupported, ...] | None = None
    scheduled_policies: tuple[Unsupported, ...] | None = None


class ScalingConfig(Shape, frozen=True):
    function_arn: str
    min_instances: int
    current_instances: int
    target_instances: int
    current_error: str | None = None
    enable_on_demand_scaling: bool | None = None


class ScalingConfigs(Shape, frozen=True):
    scaling_configs: tuple[ScalingConfig, ...]
    next_token: str | None = None
