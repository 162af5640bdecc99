"""Chat templates in the manner of public families, written anew, and a tokenizer for them."""

from __future__ import annotations

from functools import cache
from typing import Any

CHATML = """
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
# A default system turn, no thoughts.
CHATML_SYSTEM = (
    """
{%- if messages[0].role != 'system' %}
{{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}
{%- endif %}
"""
    + CHATML
)
LLAMA3 = """
{{- bos_token }}
{%- set day = date_string if date_string is defined else strftime_now('%d %b %Y') %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + day + '<|eot_id|>' }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
# Strict alternation; the wish for an opening is ignored, and needs no answer.
MISTRAL = """
{{- bos_token }}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if m.role == 'user' %}{{- '[INST] ' + m.content + '[/INST]' }}
{%- else %}{{- ' ' + m.content | trim + eos_token }}{%- endif %}
{%- endfor %}
"""
GEMMA = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
{{- raise_exception('System role not supported') }}
{%- endif %}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate') }}
{%- endif %}
{%- set role = 'model' if m.role == 'assistant' else m.role %}
{{- '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}
"""
# Opens the thought, and leaves it out of every turn of the assistant.
R1_DISTILL = """
{{- bos_token }}
{%- for m in messages %}
{%- if m.role == 'system' %}{{- m.content }}{%- endif %}
{%- if m.role == 'user' %}{{- '<|User|>' + m.content }}{%- endif %}
{%- if m.role == 'assistant' %}
{%- set content = m.content %}
{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}
{{- '<|Assistant|>' + content + '<|end_of_sentence|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|Assistant|><think>\n' }}{%- endif %}
"""
# As it was first: it does not open the thought.
R1_FIRST = R1_DISTILL.replace("<|Assistant|><think>\\n", "<|Assistant|>")
QWQ = """
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- set content = m.content.split('</think>')[-1].lstrip('\n') %}
{{- '<|im_start|>assistant\n' + content + '<|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}
"""
# Keeps the thought of the last turn only; an empty one where there is none.
QWEN3 = """
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}
{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for m in messages %}
{%- if m.role != 'assistant' %}
{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- else %}
{%- set content = m.content %}
{%- set thought = '' %}
{%- if m.reasoning_content is string %}
{%- set thought = m.reasoning_content %}
{%- elif '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\n') %}
{%- endif %}
{{- '<|im_start|>assistant\n' }}
{%- if loop.index0 > ns.last and (loop.last or thought) %}
{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
{%- else %}{{- content }}{%- endif %}
{{- '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\n\n</think>\n\n' }}
{%- endif %}
{%- endif %}
"""
QWEN3_THINKING = QWEN3.replace(
    "{{- '<|im_start|>assistant\n' }}\n{%- if enable",
    "{{- '<|im_start|>assistant\n<think>\n' }}\n{%- if enable",
)
GPT_OSS = """
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- if m.thinking and loop.last and not add_generation_prompt %}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}
{%- endif %}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content }}
{{- '<|return|>' if loop.last else '<|end|>' }}
{%- else %}
{{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}
"""
# Asks for tags in words, and writes turns as they are.
PHI4_REASONING = """
{{- '<|im_start|>system<|im_sep|>Answer as <think> {Thought} </think> {Solution}.<|im_end|>' }}
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant<|im_sep|>' }}{%- endif %}
"""
SMOLLM3 = """
{%- set mode = '/think' %}
{%- if messages[0].role == 'system' and '/no_think' in messages[0].content %}
{%- set mode = '/no_think' %}
{%- endif %}
{{- '<|im_start|>system\nReasoning Mode: ' + mode + '<|im_end|>\n' }}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}
{%- elif m.role == 'assistant' %}
{%- set empty = '' if mode == '/think' else '<think>\n\n</think>\n' %}
{{- '<|im_start|>assistant\n' + empty + m.content.lstrip('\n') + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' + ('' if mode == '/think' else '<think>\n\n</think>\n') }}
{%- endif %}
"""
GRANITE = """
{{- '<|start_of_role|>system<|end_of_role|>Today is ' + strftime_now('%B %d, %Y') + '.' }}
{%- if thinking %}{{- ' Write your thoughts between <think></think>.' }}{%- endif %}
{{- '<|end_of_text|>\n' }}
{%- for m in messages %}
{{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}
"""
MAGISTRAL = """
{{- bos_token }}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '[INST]' + m.content + '[/INST]' }}
{%- elif m.role == 'assistant' %}
{%- if m.content is string %}{{- m.content }}{%- else %}
{%- for part in m.content %}
{%- if part.type == 'thinking' %}
{%- if part.thinking is string %}{{- '[THINK]' + part.thinking + '[/THINK]' }}
{%- else %}{{- '[THINK]' + part.thinking[0].text + '[/THINK]' }}{%- endif %}
{%- else %}{{- part.text }}{%- endif %}
{%- endfor %}
{%- endif %}
{{- eos_token }}
{%- endif %}
{%- endfor %}
"""
DEEPSEEK_V31 = """
{{- bos_token }}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<|User|>' + m.content }}
{%- elif m.role == 'assistant' %}
{{- '<|Assistant|></think>' + m.content.split('</think>')[-1] + '<|end_of_sentence|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|Assistant|>' + ('<think>' if thinking else '</think>') }}
{%- endif %}
"""
GLM = """
{{- '[gMASK]<sop>' }}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<|user|>\n' + m.content }}
{%- elif m.role == 'assistant' %}
{{- '<|assistant|>' }}
{%- if loop.last and m.reasoning_content %}
{{- '\n<think>' + m.reasoning_content.strip() + '</think>' }}
{%- else %}{{- '\n<think></think>' }}{%- endif %}
{{- '\n' + m.content.strip() }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}
"""
# Counts the last turn to the history, where every thought is empty.
KIMI = """
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{{- '<|im_start|>assistant<|im_sep|><think></think>' + m.content + '<|im_end|>' }}
{%- else %}
{{- '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant<|im_sep|>' }}{%- endif %}
"""
# Ignores the wish for an opening, which is needed.
ZEPHYR = """
{%- for m in messages %}
{{- '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}
{%- endfor %}
"""
TRIMS = """
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
TEMPLATES = {
    "chatml": CHATML,
    "chatml system": CHATML_SYSTEM,
    "llama 3": LLAMA3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "r1 distill": R1_DISTILL,
    "r1 first": R1_FIRST,
    "qwq": QWQ,
    "qwen 3": QWEN3,
    "qwen 3 thinking": QWEN3_THINKING,
    "gpt-oss": GPT_OSS,
    "phi 4 reasoning": PHI4_REASONING,
    "smollm 3": SMOLLM3,
    "granite": GRANITE,
    "magistral": MAGISTRAL,
    "deepseek 3.1": DEEPSEEK_V31,
    "glm": GLM,
    "kimi": KIMI,
    "zephyr": ZEPHYR,
    "trims": TRIMS,
}
CONTROL = [
    *("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|User|>", "<|Assistant|>"),
    *("<|end_of_sentence|>", "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "[INST]", "[/INST]"),
    *("[THINK]", "[/THINK]", "<|user|>", "<|assistant|>", "[gMASK]", "<sop>"),
]


@cache
def byte_tokenizer() -> Any:
    """A token a byte, and the control tokens of all templates; tags of thoughts are text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AddedToken, PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tok = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tok, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    made.add_tokens([AddedToken(name, special=True, normalized=False) for name in CONTROL])
    made.add_tokens(
        [AddedToken(n, special=False, normalized=False) for n in ("<think>", "</think>")]
    )
    return made
