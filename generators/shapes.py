"""Shapes in annotations, by jaxtyping; where that is not installed, as on a bare GPU machine, they say nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
    from jaxtyping import UInt8 as UInt8
    from jaxtyping import UInt16 as UInt16
else:
    try:
        from jaxtyping import Bool, Float, Int, UInt8, UInt16
    except ImportError:

        class Bool:
            """Float[Tensor, "batch dim"] and its like, unread."""

            def __class_getitem__(cls, _: object) -> Any:
                return Any

        Float = Int = UInt8 = UInt16 = Bool
