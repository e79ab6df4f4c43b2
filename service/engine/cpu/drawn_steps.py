"""Steps of single tokens that the kernels compute and draw by themselves, one after another.

A thread of the library's own does it while the interpreter tells about the tokens before. Torch-
free.
"""

import ctypes
import threading
from array import array
from collections.abc import Iterator, Sequence
from ctypes import POINTER, Structure, byref, c_int, c_int32, c_void_p

from service.engine.cpu.kernel_library import KernelError, check_status, new_handle
from service.engine.drawn_rows import DrawnRow

__all__ = ["DrawnSteps"]


class _Rows(Structure):
    """`nextword_ahead_rows`."""

    _fields_ = (
        ("num_rows", c_int32),
        ("table_stride", c_int32),
        ("token_ids", c_void_p),
        ("starts", c_void_p),
        ("lasts", c_void_p),
        ("block_tables", c_void_p),
        ("settings", c_void_p),
    )


_ARGUMENTS = {
    "nextword_ahead_create": (c_void_p, c_void_p, c_int32, POINTER(c_void_p)),
    "nextword_ahead_start": (c_void_p, POINTER(_Rows), c_int32, c_void_p),
    "nextword_ahead_go_on": (c_void_p, c_int32, c_void_p),
    "nextword_ahead_wait": (c_void_p, POINTER(c_int32)),
}

NO_DESCRIPTOR = -1


class DrawnSteps:
    """Runs of such steps over one cache; one is under way at most.

    Args:
        library: The kernels.
        model: Handle of the network in them.
        cache: Handle of its cache.
        vocab_size: Of the network.
        block_tokens: Tokens of a block.
        num_positions: Of the longest sequence.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        *,
        model: c_void_p,
        cache: c_void_p,
        vocab_size: int,
        block_tokens: int,
        num_positions: int,
    ) -> None:
        for name, arguments in _ARGUMENTS.items():
            getattr(library, name).argtypes = arguments
            getattr(library, name).restype = c_int32
        for name, others in (("destroy", ()), ("stop", ()), ("watch", (c_int,))):
            function = getattr(library, f"nextword_ahead_{name}")
            function.argtypes = (c_void_p, *others)
            function.restype = None
        self._library = library
        self._places = (model, cache, vocab_size)
        self._block_tokens = block_tokens
        self._num_positions = num_positions
        self._handle: c_void_p | None = None
        self._descriptor = NO_DESCRIPTOR
        self._thread_id = 0
        self._num_rows = 0
        # What a run writes to.
        self._drawn = array("i")

    def start(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        """Begin a run; step by step the drawn ids, as `DrawsAhead` says.

        Raises:
            KernelError: A row does not fit its blocks or the model's context, or wants what such
                runs do not do.
            MemoryError: There is no room for it.
        """
        num_blocks = [-(-(row.last + 1) // self._block_tokens) for row in rows]
        stride = max(num_blocks)
        tables, addresses = array("i"), array("Q")
        for row, number in zip(rows, num_blocks, strict=True):
            settings = row.native_settings
            if settings is None or settings.address == 0:
                raise KernelError("a row says not how it is drawn")
            if row.last >= self._num_positions or number > len(row.block_ids):
                raise KernelError(f"{len(row.block_ids)} blocks do not hold {row.last + 1} tokens")
            addresses.append(settings.address)
            tables.extend(array("i", row.block_ids[:number]))
            # What lies beyond its tokens is not read.
            tables.frombytes(bytes(4 * (stride - number)))
        arrays = (
            array("i", [row.token_id for row in rows]),
            array("i", [row.start for row in rows]),
            array("i", [row.last for row in rows]),
            tables,
            addresses,
        )
        places = [each.buffer_info()[0] for each in arrays]
        handle = self._own_handle()
        self.stop()
        self._num_rows = len(rows)
        self._drawn = drawn = array("i", bytes(4 * len(rows) * num_steps))
        given = _Rows(len(rows), stride, *places)
        self._check(
            self._library.nextword_ahead_start(
                handle, byref(given), num_steps, drawn.buffer_info()[0]
            )
        )
        return self._results(drawn)

    def go_on(self, *, num_steps: int) -> Iterator[list[int]]:
        """Begin a run where the last one has left its rows."""
        self.stop()
        self._drawn = drawn = array("i", bytes(4 * self._num_rows * num_steps))
        self._check(
            self._library.nextword_ahead_go_on(self._handle, num_steps, drawn.buffer_info()[0])
        )
        return self._results(drawn)

    def end_early_for(self, descriptor: int) -> None:
        """Cut runs short as soon as something can be read from a descriptor."""
        self._descriptor = descriptor
        if self._handle is not None:
            self._library.nextword_ahead_watch(self._handle, descriptor)

    def stop(self) -> None:
        """Cut short what is under way and wait for it, so that something else may be computed.

        What went wrong with a run is told to whoever asks for its tokens.
        """
        if self._handle is not None:
            self._library.nextword_ahead_stop(self._handle)

    def close(self) -> None:
        """End the thread."""
        if self._handle is not None:
            self._library.nextword_ahead_destroy(self._handle)
            self._handle = None

    def _results(self, drawn: "array[int]") -> Iterator[list[int]]:
        size, num_made = self._num_rows, c_int32()
        self._check(self._library.nextword_ahead_wait(self._handle, byref(num_made)))
        for step in range(num_made.value):
            yield drawn[step * size : (step + 1) * size].tolist()

    def _own_handle(self) -> c_void_p:
        # A thread has the priority of the one that started it. A version that was loaded in the
        # background is warmed up at low priority, by another thread than the one that serves.
        if self._thread_id != threading.get_ident():
            self.close()
            self._handle = new_handle(self._library, "nextword_ahead_create", *self._places)
            self._thread_id = threading.get_ident()
            self._library.nextword_ahead_watch(self._handle, self._descriptor)
        assert self._handle is not None
        return self._handle

    def _check(self, status: int) -> None:
        check_status(self._library, status)
