"""Adam that touches only the rows of id tables that a batch has read."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import nn

from sgfd._checks import check_number


class LazyAdam(torch.optim.Optimizer):
    r"""``torch.optim.SparseAdam`` for embeddings with ``sparse=True``, ``Adam`` for the rest.

    Adam moves every row of a table at every step: without a gradient by what is left of earlier
    ones. That reads and writes whole tables, of which a batch has seen a few thousand rows.
    SparseAdam leaves parameters and both moments of the other rows as they are, and corrects the
    moments' bias by the number of steps, not of the row's own gradients:

    .. math::
        m_r \leftarrow \beta_1 m_r + (1 - \beta_1) g_r, \quad
        v_r \leftarrow \beta_2 v_r + (1 - \beta_2) g_r^2, \quad
        \theta_r \leftarrow \theta_r
        - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m_r}{\sqrt{v_r} + \epsilon}

    for the rows r of the batch at step t alone. A row that is in every batch is trained as by Adam
    (with :math:`\epsilon` beside an uncorrected :math:`\sqrt{v_r}`, as torch has it); a
    rare one is not moved on by old gradients, and its moments do not fade: results differ from
    Adam's. The moments take as much memory as Adam's; what is saved is time, and the memory of
    dense gradients.

    Args:
        model: whose parameters are trained, those that are not frozen now; a ``Distilled`` one
            with its teacher.
        lr: learning rate, above 0.
        betas: decay of the two moments.
        eps: added to the root.
        weight_decay: of the parameters that SparseAdam does not train: L2 would move every row.

    Raises:
        TypeError: if ``model`` is no module.
        ValueError: for numbers out of range, or a model without any sparse embedding (use
            ``torch.optim.Adam``) to train.

    Example:
        >>> import torch
        >>> from sgfd.backbones import VBPR, LazyAdam
        >>> from sgfd.data import PairSampler, synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = VBPR(data.train, data.features, dim=8, sparse=True)
        >>> optimizer = LazyAdam(model, lr=1e-2)
        >>> for batch in PairSampler(data.train, batch_size=512, seed=0).epoch(0):
        ...     optimizer.zero_grad()
        ...     model(batch).backward()
        ...     optimizer.step()
        >>> model.user_embedding.weight.grad.is_sparse
        True
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"model must be an nn.Module, not its parameters: it says which embeddings have "
                f"sparse gradients; got {type(model).__qualname__}."
            )
        check_number("lr", lr, above=0)
        check_number("eps", eps, above=0)
        check_number("weight_decay", weight_decay, at_least=0)
        sparse = {id(p): p for p in sparse_parameters(model)}
        if not sparse:
            raise ValueError(
                "model must have an nn.Embedding(sparse=True) to train, such as those of "
                "VBPR(..., sparse=True); it has none. Use torch.optim.Adam."
            )
        dense = [p for p in model.parameters() if p.requires_grad and id(p) not in sparse]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.SparseAdam(list(sparse.values()), lr=lr, betas=betas, eps=eps)
        ]
        if dense:
            self._parts.append(
                torch.optim.Adam(
                    dense,
                    lr=lr,
                    betas=betas,
                    eps=eps,
                    weight_decay=weight_decay,
                    fused=fused(dense),
                )
            )
        groups = [part.param_groups[0] for part in self._parts]
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each.

        Args:
            closure: computes the loss and its gradients again; optional.

        Returns:
            Its loss, None without one.

        Raises:
            RuntimeError: if an embedding with ``sparse=True`` got a dense gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        grads = [p.grad for p in self.param_groups[0]["params"] if p.grad is not None]
        if not all(grad.is_sparse for grad in grads):
            raise RuntimeError(
                "An embedding with sparse=True got a dense gradient: the model read its whole "
                "table (GRCN does for any batch but a NeighborBatch). Build it with sparse=False."
            )
        # Groups and state are this one's, so that schedulers and checkpoints find all here.
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state
            part.step()
        return loss

    def __getstate__(self) -> dict[str, Any]:
        """What copies are made of."""
        return {**super().__getstate__(), "_parts": self._parts}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only while it is made: each group has its own algorithm.

        Raises:
            ValueError: afterwards.
        """
        if len(getattr(self, "param_groups", ())) == len(self._parts):
            raise ValueError(
                "LazyAdam takes no further parameters: make another of the whole model."
            )
        super().add_param_group(param_group)


def fused(parameters: Iterable[nn.Parameter]) -> bool | None:
    """Adam's option: on a CPU one pass over memory (3 times faster), elsewhere torch's choice."""
    return all(p.device.type == "cpu" for p in parameters) or None


def sparse_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Trained weights of embeddings whose gradients are sparse."""
    for module in model.modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
            weight = cast("nn.Parameter", module.weight)
            if weight.requires_grad:
                yield weight
