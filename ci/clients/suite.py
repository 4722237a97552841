"""The Python clients `openai`, `ollama`, `anthropic` and `langchain-openai` against a running server.

Usage: suite.py URL. Each function whose name begins with `test_` is one test; all run, and those that failed are named.
"""
import asyncio, json, sys, traceback, urllib.error, urllib.request

import anthropic, ollama, openai
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

URL = sys.argv[1].rstrip("/")
CHAT, EMBED = "smollm2", "minilm"
client = openai.OpenAI(base_url=URL + "/v1", api_key="any", max_retries=0)
hello = [{"role": "user", "content": "Say hello."}]
weather = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


def chat(**more):
    return client.chat.completions.create(**{"model": CHAT, "messages": hello, "max_tokens": 12, "temperature": 0, **more})


def post(path, body, method="POST"):
    """Status, headers and JSON of a request without a client."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def refused(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


# openai: chat


def test_chat():
    a = chat()
    assert a.object == "chat.completion" and a.id.startswith("chatcmpl-") and a.model == CHAT and a.created > 1e9
    [choice] = a.choices
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length") and choice.logprobs is None
    u = a.usage
    assert 0 < u.completion_tokens <= 12 and u.prompt_tokens > 5 and u.total_tokens == u.prompt_tokens + u.completion_tokens
    assert u.prompt_tokens_details.cached_tokens >= 0 and u.completion_tokens_details.reasoning_tokens == 0


def test_chat_stream():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert len({c.id for c in chunks}) == 1 and len({c.created for c in chunks}) == 1
    assert all(c.object == "chat.completion.chunk" for c in chunks)
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content == ""
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert all(c.usage is None for c in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    assert all(c.choices[0].finish_reason is None for c in chunks[:-2])
    text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    assert text == chat().choices[0].message.content


def test_chat_stream_without_usage():
    chunks = list(chat(stream=True))
    assert all(c.choices and c.usage is None for c in chunks)


def test_chat_limits():
    a = chat(max_tokens=openai.omit, max_completion_tokens=3)
    assert a.usage.completion_tokens == 3 and a.choices[0].finish_reason == "length"


def test_chat_n():
    a = chat(n=3, temperature=1.0, seed=7)
    assert [c.index for c in a.choices] == [0, 1, 2] and len({c.message.content for c in a.choices}) > 1
    seen = {}
    for chunk in chat(n=3, temperature=1.0, seed=7, stream=True):
        for c in chunk.choices:
            seen[c.index] = seen.get(c.index, "") + (c.delta.content or "")
    assert [seen[i] for i in range(3)] == [c.message.content for c in a.choices]


def test_chat_seed():
    texts = {chat(temperature=1.5, seed=5, max_tokens=20).choices[0].message.content for _ in range(3)}
    assert len(texts) == 1


def test_chat_stop():
    whole = chat().choices[0].message.content
    stop = whole[2:5]
    a = chat(stop=[stop, "never"])
    assert a.choices[0].message.content == whole[: whole.index(stop)] and a.choices[0].finish_reason == "stop"
    assert chat(stop=stop).choices[0].message.content == whole[: whole.index(stop)]


def test_chat_logprobs():
    a = chat(logprobs=True, top_logprobs=3)
    content = a.choices[0].logprobs.content
    assert "".join(t.token for t in content) == a.choices[0].message.content
    for token in content:
        assert bytes(token.bytes).decode() == token.token and token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob >= token.logprob - 1e-6
    assert chat(logprobs=True).choices[0].logprobs.content[0].top_logprobs == []
    streamed = [t for c in chat(logprobs=True, top_logprobs=3, stream=True) if c.choices[0].logprobs
                for t in c.choices[0].logprobs.content]
    assert [t.token for t in streamed] == [t.token for t in content]


def test_chat_logit_bias():
    [token] = post("/tokenize", {"model": CHAT, "content": " banana"})[2]["tokens"][:1]
    a = chat(logit_bias={str(token): 100}, max_tokens=4)
    assert "ban" in a.choices[0].message.content, a.choices[0].message.content
    first = chat(logprobs=True, max_tokens=1).choices[0].logprobs.content[0].token
    ids = post("/tokenize", {"model": CHAT, "content": first})[2]["tokens"]
    other = chat(logit_bias={str(ids[0]): -100}, max_tokens=1, logprobs=True).choices[0].logprobs.content[0].token
    assert other != first


def test_chat_json_object():
    a = chat(response_format={"type": "json_object"}, max_tokens=60, temperature=1.0)
    assert isinstance(json.loads(a.choices[0].message.content), dict)


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]


def test_chat_parse():
    a = client.chat.completions.parse(model=CHAT, messages=hello, response_format=Person, max_tokens=400, seed=1)
    assert isinstance(a.choices[0].message.parsed, Person)


def test_chat_stream_helper():
    with client.chat.completions.stream(model=CHAT, messages=hello, response_format=Person, max_tokens=400, seed=1) as s:
        kinds = {event.type for event in s}
        assert "content.delta" in kinds and "content.done" in kinds
        assert isinstance(s.get_final_completion().choices[0].message.parsed, Person)


def test_chat_tools_required():
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        a = chat(tools=[weather], tool_choice=choice, max_tokens=100)
        [call] = a.choices[0].message.tool_calls[:1]
        arguments = json.loads(call.function.arguments)
        assert call.type == "function" and call.id and call.function.name == "weather"
        assert arguments["city"] in ("Oslo", "Rome") and isinstance(arguments["days"], int)
        assert a.choices[0].finish_reason == "tool_calls" and a.choices[0].message.content in (None, "")


def test_chat_tools_stream():
    calls = {}
    reason = None
    for chunk in chat(tools=[weather], tool_choice="required", max_tokens=100, stream=True):
        reason = chunk.choices[0].finish_reason or reason
        for call in chunk.choices[0].delta.tool_calls or []:
            known = calls.setdefault(call.index, {"id": call.id, "name": call.function.name, "arguments": ""})
            known["arguments"] += call.function.arguments or ""
    assert calls[0]["id"] and calls[0]["name"] == "weather" and json.loads(calls[0]["arguments"])["city"]
    assert reason == "tool_calls"


def test_chat_tools_none_and_parallel():
    a = chat(tools=[weather], tool_choice="none")
    assert not a.choices[0].message.tool_calls
    a = chat(tools=[weather], tool_choice="required", parallel_tool_calls=False, max_tokens=100)
    assert len(a.choices[0].message.tool_calls) == 1
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
        {"type": "function", "function": {"name": "weather"}}]}}
    assert chat(tools=[weather], tool_choice=allowed, max_tokens=100).choices[0].message.tool_calls


def test_chat_history_of_tools():
    messages = hello + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo","days":1}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]
    assert chat(messages=messages, tools=[weather]).choices[0].message.content is not None


def test_chat_parts_and_roles():
    messages = [{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}]}]
    assert chat(messages=messages).choices[0].message.content


def test_chat_extras():
    a = chat(extra_body={"top_k": 1, "min_p": 0.1, "repeat_penalty": 1.1, "num_ctx": 512, "keep_alive": "5m", "think": False},
             temperature=1.0)
    assert a.choices[0].message.content


def test_chat_ignored_fields_are_named():
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=hello, max_tokens=1, user="me", metadata={"a": "b"}, store=False)
    unused = raw.headers["x-tutu-unused"]
    assert all(name in unused for name in ("user", "metadata", "store")), unused
    assert raw.headers["x-request-id"]


def test_chat_refusals():
    bad = lambda **more: refused(openai.BadRequestError, lambda: chat(**more))
    assert bad(messages=[]).param == "messages"
    assert bad(temperature=3).param == "temperature"
    assert bad(top_logprobs=2).param == "top_logprobs"
    assert bad(max_tokens=0).param == "max_tokens"
    assert bad(response_format={"type": "yaml"}).param == "response_format.type"
    assert bad(tools=[weather], tool_choice={"type": "function", "function": {"name": "x"}}).param == "tool_choice"
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}]}]
    assert "image" in bad(messages=image).message
    long = [{"role": "user", "content": "word " * 3000}]
    assert bad(messages=long, extra_body={"num_ctx": 512}).code == "context_length_exceeded"
    error = refused(openai.NotFoundError, lambda: chat(model="nobody"))
    assert error.code == "model_not_found" and error.param == "model" and error.type == "not_found_error"


def test_chat_drops_old_messages_aloud():
    messages = [{"role": "user", "content": "word " * 100}, {"role": "assistant", "content": "yes " * 100}] * 4 + hello
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=messages, max_tokens=3, extra_body={"num_ctx": 512})
    assert "messages=" in raw.headers["x-tutu-dropped"] and raw.parse().model_extra["dropped_messages"] > 0
    error = refused(openai.BadRequestError, lambda: chat(messages=messages, extra_body={"num_ctx": 512, "truncation": "disabled"}))
    assert error.code == "context_length_exceeded"


def test_malformed():
    for body in (b"", b"{", b"[]", b'{"model": 3}', b'{"model": "smollm2", "messages": "x"}', b'{"messages": []}'):
        status, _, answer = post("/v1/chat/completions", body)
        assert status == 400 and answer["error"]["message"], body
    assert post("/v1/nothing", {})[0] == 404


def test_async():
    async def several():
        many = openai.AsyncOpenAI(base_url=URL + "/v1", api_key="any", max_retries=0)
        asks = [many.chat.completions.create(model=CHAT, messages=hello, max_tokens=8, temperature=0) for _ in range(6)]
        return {a.choices[0].message.content for a in await asyncio.gather(*asks)}
    assert len(asyncio.run(several())) == 1


# openai: completions, embeddings, models, responses


def complete(**more):
    return client.completions.create(**{"model": CHAT, "prompt": "Once upon a", "max_tokens": 6, "temperature": 0, **more})


def test_completions():
    a = complete()
    assert a.object == "text_completion" and a.choices[0].text and a.usage.completion_tokens == 6
    assert complete(max_tokens=openai.omit).usage.completion_tokens <= 16
    both = complete(prompt=["Once upon a", "The sky is"], n=2, temperature=1.0, seed=3)
    assert [c.index for c in both.choices] == [0, 1, 2, 3]
    ids = post("/tokenize", {"model": CHAT, "content": "Once upon a"})[2]["tokens"]
    assert complete(prompt=ids).choices[0].text == a.choices[0].text
    assert complete(prompt=[ids, ids]).choices[1].text == a.choices[0].text
    streamed = list(complete(stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in streamed[:-1]) == a.choices[0].text
    assert streamed[-1].usage.completion_tokens == 6 and streamed[-2].choices[0].finish_reason == "length"
    assert complete(best_of=3, temperature=1.0).choices[0].text is not None


def test_completions_echo_and_logprobs():
    a = complete(echo=True, logprobs=2)
    text, scores = a.choices[0].text, a.choices[0].logprobs
    assert text.startswith("Once upon a") and "".join(scores.tokens) == text
    assert scores.token_logprobs[0] is None and all(x <= 0 for x in scores.token_logprobs[1:])
    assert scores.text_offset[0] == 0 and text[scores.text_offset[2]:].startswith(scores.tokens[2])
    assert len(scores.top_logprobs[-1]) == 2
    only = complete(echo=True, logprobs=0, max_tokens=0)
    assert only.choices[0].text == "Once upon a" and only.usage.completion_tokens == 0
    # What the model said itself is scored the same when it is given back.
    again = complete(prompt=text, echo=True, logprobs=2, max_tokens=0).choices[0].logprobs
    assert again.tokens == scores.tokens
    assert all(abs(x - y) < 0.05 for x, y in zip(again.token_logprobs[1:], scores.token_logprobs[1:]))
    refused(openai.BadRequestError, lambda: complete(prompt=[]))
    refused(openai.BadRequestError, lambda: complete(prompt=[10**9]))


def test_embeddings():
    for model, size in ((EMBED, 384), (CHAT, 576)):
        a = client.embeddings.create(model=model, input=["a cat", "a kitten", "tax law"])
        vectors = [d.embedding for d in a.data]
        assert [d.index for d in a.data] == [0, 1, 2] and all(len(v) == size for v in vectors)
        assert all(abs(sum(x * x for x in v) - 1) < 1e-4 for v in vectors)
        near = lambda i, j: sum(x * y for x, y in zip(vectors[i], vectors[j]))
        assert near(0, 1) > near(0, 2), (model, near(0, 1), near(0, 2))
        assert a.usage.prompt_tokens > 3 and a.usage.total_tokens == a.usage.prompt_tokens
        floats = client.embeddings.create(model=model, input="a cat", encoding_format="float")
        assert max(abs(x - y) for x, y in zip(floats.data[0].embedding, vectors[0])) < 1e-3
    cut = client.embeddings.create(model=EMBED, input="a cat", dimensions=64).data[0].embedding
    assert len(cut) == 64 and abs(sum(x * x for x in cut) - 1) < 1e-4
    ids = post("/tokenize", {"model": EMBED, "content": "a cat", "add_special": True})[2]["tokens"]
    by_ids = client.embeddings.create(model=EMBED, input=ids).data[0].embedding
    by_text = client.embeddings.create(model=EMBED, input="a cat").data[0].embedding
    assert max(abs(x - y) for x, y in zip(by_ids, by_text)) < 1e-4
    for wrong in ({"input": []}, {"input": ""}, {"input": "x", "dimensions": 0}, {"input": "x", "encoding_format": "hex"}):
        assert post("/v1/embeddings", {"model": EMBED, **wrong})[0] == 400, wrong
    assert post("/v1/embeddings", {"model": "nobody", "input": "x"})[0] == 404
    assert post("/v1/chat/completions", {"model": EMBED, "messages": hello})[0] == 400


def test_models():
    ids = [m.id for m in client.models.list()]
    assert any(i.startswith(CHAT) for i in ids) and any(i.startswith(EMBED) for i in ids)
    one = client.models.retrieve(ids[0])
    assert one.id == ids[0] and one.object == "model" and one.owned_by == "library"
    refused(openai.NotFoundError, lambda: client.models.retrieve("nobody"))


def test_tokens():
    status, _, answer = post("/tokenize", {"model": CHAT, "content": "hello wörld", "with_pieces": True})
    assert status == 200 and answer["count"] == len(answer["tokens"])
    ids = [t["id"] for t in answer["tokens"]]
    assert post("/detokenize", {"model": CHAT, "tokens": ids})[2]["content"] == "hello wörld"
    count = post("/v1/tokens/count", {"model": CHAT, "messages": hello})[2]["input_tokens"]
    assert count == chat(max_tokens=1).usage.prompt_tokens


def respond(**more):
    return client.responses.create(**{"model": CHAT, "input": "Say hello.", "max_output_tokens": 12, "temperature": 0, **more})


def test_responses():
    a = respond(instructions="Be brief.")
    assert a.id.startswith("resp_") and a.object == "response" and a.output_text and a.output[0].type == "message"
    assert a.usage.input_tokens > 5 and a.usage.total_tokens == a.usage.input_tokens + a.usage.output_tokens
    cut = respond(max_output_tokens=2)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Say hello."}]},
             {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
             {"role": "user", "content": "Again."}]
    assert respond(input=items).output_text
    refused(openai.BadRequestError, lambda: respond(previous_response_id="resp_x"))
    refused(openai.NotFoundError, lambda: respond(model="nobody"))


def test_responses_stream():
    events = list(respond(stream=True))
    kinds = [e.type for e in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert [e.sequence_number for e in events] == list(range(len(events)))
    for kind in ("output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
                 "output_item.done"):
        assert "response." + kind in kinds, kind
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == respond().output_text
    # A form that is soon complete: the client's helper takes an answer that was cut for none.
    yes = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}
    form = {"format": {"type": "json_schema", "name": "yes", "schema": yes, "strict": True}}
    with client.responses.stream(model=CHAT, input="Is water wet?", max_output_tokens=60, text=form) as stream:
        for _ in stream:
            pass
        assert isinstance(json.loads(stream.get_final_response().output_text)["yes"], bool)


def test_responses_tools_and_schema():
    tool = {"type": "function", **weather["function"], "strict": True}
    a = respond(tools=[tool], tool_choice="required", max_output_tokens=100)
    call = next(item for item in a.output if item.type == "function_call")
    assert call.name == "weather" and json.loads(call.arguments)["city"] and call.call_id
    items = [{"role": "user", "content": "Weather?"}, call.model_dump(exclude_none=True),
             {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}]
    assert respond(input=items, tools=[tool]).output is not None
    kinds = [e.type for e in respond(tools=[tool], tool_choice="required", max_output_tokens=100, stream=True)]
    assert "response.function_call_arguments.delta" in kinds and "response.function_call_arguments.done" in kinds
    parsed = client.responses.parse(model=CHAT, input="Who?", text_format=Person, max_output_tokens=400)
    assert isinstance(parsed.output_parsed, Person)


def test_rerank():
    documents = ["Taxes are due in May.", "A kitten is a young cat.", "The sea is salt."]
    status, _, answer = post("/v1/rerank", {"model": EMBED, "query": "small cats", "documents": documents, "top_n": 2})
    assert status == 200 and answer["results"][0]["index"] == 1 and len(answer["results"]) == 2, answer
    assert answer["results"][0]["relevance_score"] > answer["results"][1]["relevance_score"]


# anthropic

claude = anthropic.Anthropic(base_url=URL, api_key="any", max_retries=0)


def message(**more):
    return claude.messages.create(**{"model": CHAT, "max_tokens": 12, "messages": hello, "extra_body": {"temperature": 0}, **more})


def test_messages():
    a = message(system="Be brief.")
    assert a.type == "message" and a.role == "assistant" and a.content[0].type == "text" and a.content[0].text
    assert a.stop_reason in ("end_turn", "max_tokens") and a.usage.output_tokens > 0
    counted = claude.messages.count_tokens(model=CHAT, messages=hello, system="Be brief.")
    assert counted.input_tokens == a.usage.input_tokens
    stop = a.content[0].text[2:5]
    stopped = message(system="Be brief.", stop_sequences=[stop])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == stop
    assert message(max_tokens=1).stop_reason == "max_tokens"
    refused(anthropic.NotFoundError, lambda: message(model="nobody"))
    refused(anthropic.BadRequestError, lambda: message(max_tokens=0))
    refused(anthropic.BadRequestError, lambda: message(messages=[]))
    status, _, answer = post("/v1/messages", {"model": CHAT, "messages": hello})
    assert status == 400 and answer["type"] == "error" and answer["error"]["type"] == "invalid_request_error"


def test_messages_stream():
    with claude.messages.stream(model=CHAT, max_tokens=12, messages=hello, extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == message().content[0].text and final.usage.output_tokens > 0


def test_messages_tools():
    tool = {"name": "weather", "description": "x", "input_schema": weather["function"]["parameters"]}
    a = message(tools=[tool], tool_choice={"type": "any"}, max_tokens=100)
    use = next(b for b in a.content if b.type == "tool_use")
    assert a.stop_reason == "tool_use" and use.name == "weather" and use.input["city"] in ("Oslo", "Rome")
    after = hello + [{"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]},
                     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Rain."}]}]
    assert message(messages=after, tools=[tool]).content is not None
    with claude.messages.stream(model=CHAT, max_tokens=100, messages=hello, tools=[tool],
                                tool_choice={"type": "tool", "name": "weather"}) as stream:
        final = stream.get_final_message()
    assert final.content[0].type == "tool_use" and final.content[0].input["city"]


# ollama

local = ollama.Client(host=URL)


def test_ollama_chat_and_generate():
    options = {"temperature": 0, "num_predict": 8}
    a = local.chat(model=CHAT, messages=hello, options=options)
    assert a.message.content and a.done and a.eval_count > 0 and a.prompt_eval_count > 0
    streamed = "".join(p.message.content for p in local.chat(model=CHAT, messages=hello, options=options, stream=True))
    assert streamed == a.message.content
    b = local.generate(model=CHAT, prompt="Say hello.", options=options)
    assert b.response and b.done_reason in ("stop", "length") and b.context
    pieces = list(local.generate(model=CHAT, prompt="Say hello.", options=options, stream=True))
    assert "".join(p.response for p in pieces) == b.response and pieces[-1].done
    schema = local.chat(model=CHAT, messages=hello, format=Person.model_json_schema(), options={"num_predict": 400})
    assert Person.model_validate_json(schema.message.content)
    refused(ollama.ResponseError, lambda: local.chat(model="nobody", messages=hello))
    assert any(m.model.startswith(CHAT) for m in local.ps().models)


def test_ollama_embed():
    a = local.embed(model=EMBED, input=["a cat", "a dog"])
    assert len(a.embeddings) == 2 and len(a.embeddings[0]) == 384 and a.prompt_eval_count > 2 and a.total_duration > 0
    assert len(local.embed(model=EMBED, input="a cat", dimensions=64).embeddings[0]) == 64
    old = local.embeddings(model=EMBED, prompt="a cat")
    assert max(abs(x - y) for x, y in zip(old.embedding, a.embeddings[0])) < 1e-4
    assert len(local.embed(model=CHAT, input="a cat").embeddings[0]) == 576
    assert post("/api/embed", {"model": EMBED, "input": [1]})[0] == 400
    assert post("/api/embed", {"model": EMBED, "input": "word " * 2000, "truncate": False})[0] == 400
    assert post("/api/embed", {"model": EMBED, "input": "word " * 2000})[0] == 200
    assert post("/api/embed", {"model": EMBED})[2]["embeddings"] == []


# langchain


def test_langchain():
    model = ChatOpenAI(model=CHAT, base_url=URL + "/v1", api_key="any", temperature=0, max_tokens=60, max_retries=0)
    a = model.invoke([SystemMessage("Be brief."), HumanMessage("Say hello.")])
    assert a.content and a.usage_metadata["output_tokens"] > 0
    assert "".join(p.content for p in model.stream("Say hello.")) == model.invoke("Say hello.").content
    bound = model.bind_tools([weather], tool_choice="weather")
    assert bound.invoke("Weather in Oslo?").tool_calls[0]["name"] == "weather"
    longer = ChatOpenAI(model=CHAT, base_url=URL + "/v1", api_key="any", max_tokens=400, max_retries=0, seed=1)
    assert isinstance(longer.with_structured_output(Person).invoke("Who are you?"), Person)
    vectors = OpenAIEmbeddings(model=EMBED, base_url=URL + "/v1", api_key="any", check_embedding_ctx_length=False)
    assert len(vectors.embed_query("a cat")) == 384 and len(vectors.embed_documents(["a", "b"])) == 2


failed = []
only = sys.argv[2:]
tests = [(name, test) for name, test in list(globals().items()) if name.startswith("test_")]
tests = [(name, test) for name, test in tests if not only or any(part in name for part in only)]
for name, test in tests:
    try:
        test()
    except BaseException:
        failed.append(name)
        print(f"--- {name}\n{traceback.format_exc()}")
print(f"ci/clients: python: {len(tests) - len(failed)} of {len(tests)} pass")
if failed:
    sys.exit("ci/clients: failed: " + ", ".join(failed))
