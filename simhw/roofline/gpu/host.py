"""What a framework's processor needs to issue a step, call by call, where a device's file tells it by kind of call.

A call of the forward pass goes through Python, and through autograd where gradients follow; a backward call comes from
autograd's own thread, and a convolution's one call makes both gradients.  An optimizer takes a time for every tensor.
"""

from simhw.machine.described import Section
from simhw.roofline.operators import Attention, Convolution, Gemm, Recurrent, Streaming
from simhw.roofline.prediction import Prediction
from simhw.roofline.quantities import Seconds

NORMS = ("batchnorm", "batchnorm_inference", "batchnorm_grad")
CASTS = ("cast", "widen")


class Calls(Section):
    """Seconds of a call, by what it is.

    Attributes
    ----------
    convolution, product, batchnorm, cast, other : float
        `product`: of matrices, attention and recurrent layers too.
    """

    convolution: Seconds
    product: Seconds
    batchnorm: Seconds
    cast: Seconds
    other: Seconds


class HostParameters(Section):
    """Costs of issuing.

    Attributes
    ----------
    forward, backward : Calls
        Each operator of the step model is a call.
    tensor_s : float
        Of an update, for each tensor and function of it, in a kernel for many or in one of its own.
    step_s : float
        Of a step, whatever it does: the loop around it, the loss.
    stream_s : float
        What a kernel takes more in a stream than in a graph, where the device need not wait for its launch.
    """

    forward: Calls
    backward: Calls
    tensor_s: Seconds
    step_s: Seconds
    stream_s: Seconds

    def issue_s(self, prediction: Prediction, backward: bool) -> float:
        """Seconds to issue an operator; none for one that is part of another kernel."""
        operator = prediction.operator
        calls = self.backward if backward else self.forward
        if isinstance(operator, Convolution):
            return calls.convolution
        if isinstance(operator, Gemm | Attention | Recurrent):
            return calls.product
        assert isinstance(operator, Streaming)
        if operator.joined:
            return 0.0
        if operator.kind == "optimizer" or operator.name == "divide":
            return self.tensor_s * operator.pieces
        if operator.name in NORMS:
            return calls.batchnorm
        return calls.cast if operator.name in CASTS else calls.other
