"""Where the time of a step goes, by torch's profiler."""

from torch.profiler import ProfilerActivity, profile

from .cases import Sizes
from .compare import MAKERS
from .subject import Case


def operators(case: Case, sizes: Sizes, *, rows: int = 12) -> str:
    """The operators that take the most time of their own in three computations of ours."""
    call = MAKERS[case.part](case, sizes).ours
    call()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        for _ in range(3):
            call()
    averages = sorted(
        found.key_averages(group_by_input_shape=True), key=lambda e: -e.self_cpu_time_total
    )
    total = sum(e.self_cpu_time_total for e in averages)
    lines = [f"{' '.join(case)}: {total / 3e3:.1f} ms under the profiler"]
    for event in averages[:rows]:
        shapes = [shape for shape in event.input_shapes if shape][:3]
        lines.append(
            f"{event.self_cpu_time_total / total:6.1%} {event.self_cpu_time_total / 3e3:8.2f} ms "
            f"{event.count / 3:5.0f}x  {event.key}  {' '.join(map(str, shapes))}"
        )
    return "\n".join(lines)
