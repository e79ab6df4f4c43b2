"""LangChain's classes for OpenAI: chat, streams with usage, batches, older completions, vectors."""

from checking import KEY, MODEL, REST, equal, holds, run
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

SERVER = {"base_url": f"{REST}/v1", "api_key": KEY, "model": MODEL}
SAID = [SystemMessage("Be short."), HumanMessage("Tell me about the wolf.")]


def main() -> None:
    chat = ChatOpenAI(**SERVER, max_tokens=24, seed=7, stream_usage=True)
    whole = chat.invoke(SAID)
    chunks = list(chat.stream(SAID))
    equal("answer, streamed", "".join(each.content for each in chunks), whole.content)
    usages = [each.usage_metadata for each in chunks if each.usage_metadata]
    equal("tokens told by the stream", sum(each["output_tokens"] for each in usages), 24)
    equal("tokens told", whole.usage_metadata["output_tokens"], 24)
    equal("model", whole.response_metadata["model_name"].partition("@")[0], MODEL)
    answers = chat.batch([SAID, SAID])
    equal("answers of a batch", [each.content for each in answers], [whole.content] * 2)
    older = OpenAI(**SERVER, max_tokens=24, seed=7)
    text = older.invoke("Once upon a time")
    equal("completion, streamed", "".join(older.stream("Once upon a time")), text)
    # Else it counts tokens with OpenAI's vocabulary, which it fetches from elsewhere.
    vectors = OpenAIEmbeddings(**SERVER, check_embedding_ctx_length=False)
    two = vectors.embed_documents(["The wolf", "The fox"])
    holds("two different vectors", len(two) == 2 and two[0] != two[1])
    alone = vectors.embed_query("The wolf")
    holds("the same text has the same vector", max(map(_distance, alone, two[0])) < 1e-6)
    holds("vectors have length 1", abs(sum(each * each for each in alone) - 1) < 1e-3)


def _distance(one: float, other: float) -> float:
    return abs(one - other)


run(main)
