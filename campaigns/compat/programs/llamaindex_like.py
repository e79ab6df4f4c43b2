"""LlamaIndex's classes for servers that are like OpenAI's: completions, chat, vectors."""

from checking import KEY, MODEL, REST, equal, holds, run
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

SERVER = {"api_base": f"{REST}/v1", "api_key": KEY}


def main() -> None:
    model = OpenAILike(
        **SERVER,
        model=MODEL,
        is_chat_model=True,
        max_tokens=24,
        context_window=4096,
        additional_kwargs={"seed": 7},
    )
    said = [ChatMessage(role="user", content="Tell me about the wolf.")]
    whole = model.chat(said)
    streamed = "".join(each.delta or "" for each in model.stream_chat(said))
    equal("answer, streamed", streamed, whole.message.content)
    equal("tokens told", whole.raw.usage.completion_tokens, 24)
    older = model.model_copy(update={"is_chat_model": False})
    text = older.complete("Once upon a time").text
    streamed = "".join(each.delta or "" for each in older.stream_complete("Once upon a time"))
    equal("completion, streamed", streamed, text)
    vectors = OpenAILikeEmbedding(**SERVER, model_name=MODEL)
    two = vectors.get_text_embedding_batch(["The wolf", "The fox"])
    holds("two different vectors", len(two) == 2 and two[0] != two[1])
    holds("vectors have length 1", abs(sum(each * each for each in two[0]) - 1) < 1e-3)


run(main)
