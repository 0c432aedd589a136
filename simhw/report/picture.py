"""A figure that a notebook shows at the end of a cell, also where nothing has loaded matplotlib.pyplot."""

from io import BytesIO

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure without a window: matplotlib itself would only name it there."""

    def png(self) -> bytes:
        """The figure as the bytes of a PNG file."""
        png = BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()
