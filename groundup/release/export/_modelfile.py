"""The Modelfile of a model for Ollama, which has no Jinja: its chat template in the syntax of Go, and its stops."""

from groundup.codecs.chat_template import ChatTemplate
from groundup.codecs.text import Tokenizer
from groundup.codecs.tokenizer_files import TokenizerFiles
from groundup.core.errors import InputError

_SYSTEM, _USER, _ANSWER, _NEXT = "[groundup system]", "[groundup user]", "[groundup answer]", "[groundup next]"


def text(file: str, files: TokenizerFiles) -> str:
    """The Modelfile of a GGUF file beside it. Where the chat template is none of turns in a row, Ollama chooses one."""
    tokenizer = Tokenizer.of(files)
    stops = [tokenizer.decode_bytes((id,)).decode(errors="replace") for id in tokenizer.ends]
    lines = [f"FROM ./{file}"]
    try:
        lines += _template(files)
    except (InputError, ValueError):
        lines += ["# the chat template has no form in Go that is known to be the same"]
    return "\n".join([*lines, *(f'PARAMETER stop "{stop}"' for stop in stops)]) + "\n"


def _template(files: TokenizerFiles) -> list[str]:
    """The template by what it writes around the texts of turns. Raises ValueError where it does not write them once."""
    template = files.templates["default"] if files.templates else ""
    roles = tuple((key, str(value)) for key, value in files.config.items() if key.endswith("_token"))
    turns = [("user", _USER), ("assistant", _ANSWER), ("user", _NEXT)]

    def rendered(turns: list[tuple[str, str]], prompt: bool) -> list[str]:
        """The pieces between the texts."""
        case = {
            "messages": [{"role": role, "content": content} for role, content in turns],
            "add_generation_prompt": prompt,
        }
        [whole] = ChatTemplate(template, template, roles, files.origin).render([case])
        pieces = []
        for _, content in turns:
            piece, found, whole = whole.partition(content)
            pieces.append(piece)
            if not found:
                raise ValueError(content)
        return [*pieces, whole]

    before, _, between, answer = rendered(turns, True)
    after = rendered(turns[:2], False)[-1]
    opened, inside, _ = rendered([("system", _SYSTEM), *turns[:1]], True)
    user = between.removeprefix(after)
    told = before.removesuffix(user).removeprefix(opened).removesuffix(inside.removesuffix(user))
    form = f"{{{{ if .System }}}}{opened}{{{{ .System }}}}{inside.removesuffix(user)}{{{{ end }}}}"
    form += f"{{{{ if .Prompt }}}}{user}{{{{ .Prompt }}}}{answer}{{{{ end }}}}{{{{ .Response }}}}{after}"
    return [f'TEMPLATE """{form}"""', *([f'SYSTEM """{told}"""'] if told else [])]
