"""Questions that trace a small program by hand; every answer comes from running the program."""

from __future__ import annotations

from collections.abc import Callable

from .written_trace import Pad, Sketch

WORDS = ("planet", "garden", "copper", "window", "marble", "tunnel", "basket", "silver", "lantern")
FRUIT = ("pear", "plum", "fig", "lime", "kiwi", "date")
ASKS = (
    "What does this program print?",
    "Work out by hand what the following code prints.",
    "Trace this Python program. What is its output?",
    "What will be printed when this snippet runs?",
)


def run(source: str) -> str:
    """The text that a program of ours prints, without the last newline."""
    lines: list[str] = []
    exec(compile(source, "<traced>", "exec"), {"print": lambda value: lines.append(str(value))})
    return "\n".join(lines)


def _close(p: Pad, source: str, expected: object) -> Sketch:
    answer = run(source)
    if answer != str(expected):
        raise ValueError(f"the steps say {expected}, the program prints {answer}:\n{source}")
    return p.finish(f"{p.rng.choice(ASKS)}\n\n{source}", answer)


def conditional_sum(p: Pad) -> Sketch:
    """A loop over a list with a condition."""
    box, acc = p.rng.choice((("values", "total"), ("nums", "s"), ("prices", "cost")))
    items, bar = p.rng.sample(range(2, 30), k=5), p.rng.randint(8, 16)
    total, bonus = p.rng.randint(0, 9), p.rng.randint(1, 4)
    source = (
        f"{box} = {items}\n{acc} = {total}\nfor v in {box}:\n    if v > {bar}:\n"
        f"        {acc} = {acc} + v\n    else:\n        {acc} = {acc} + {bonus}\nprint({acc})"
    )
    p.given(f"the list {box} holds {items}", f"{acc} starts at {total}")
    for v in items:
        add, why = (v, f"more than {bar}") if v > bar else (bonus, f"not above {bar}")
        p.computed(f"{v} is {why}, so {acc} becomes {total} + {add} = {total + add}.")
        total += add
    p.checked("All five entries have been used, so the loop is over.")
    return _close(p, source, total)


def halving(p: Pad) -> Sketch:
    """A while loop that halves or decrements, counting its rounds."""
    n = p.rng.choice((11, 13, 18, 19, 21, 22, 24, 26, 28, 34, 40, 48))
    low, count = p.rng.choice((1, 2)), 0
    var = p.rng.choice(("n", "x", "k"))
    source = (
        f"{var} = {n}\nsteps = 0\nwhile {var} > {low}:\n    if {var} % 2 == 0:\n"
        f"        {var} = {var} // 2\n    else:\n        {var} = {var} - 1\n"
        f"    steps = steps + 1\nprint(steps)"
    )
    p.given(f"the variable {var} is {n} at first", f"the loop runs while {var} is above {low}")
    while n > low:
        new, sign = (n // 2, "// 2") if n % 2 == 0 else (n - 1, "- 1")
        kind = "even" if n % 2 == 0 else "odd"
        count += 1
        p.computed(f"{n} is {kind}: {n} {sign} = {new}, and steps is {count}.")
        n = new
    p.checked(f"Now {var} is {n}, which is not above {low}, so the loop ends.")
    return _close(p, source, count)


def append_filter(p: Pad) -> Sketch:
    """A list built from another with a test and a sum at the end."""
    items, div = p.rng.sample(range(3, 40), k=6), p.rng.choice((2, 3, 4))
    while sum(v % div == 0 for v in items) < 2:
        items = p.rng.sample(range(3, 40), k=6)
    source = (
        f"data = {items}\nkept = []\nfor d in data:\n    if d % {div} == 0:\n"
        f"        kept.append(d)\nprint(sum(kept) - len(kept))"
    )
    kept = [v for v in items if v % div == 0]
    p.given(f"the list data is {items}")
    p.given(f"only multiples of {div} are kept")
    for half in (items[:3], items[3:]):
        tests = ", ".join(f"{v} % {div} = {v % div}" for v in half)
        yes = [v for v in half if v % div == 0]
        p.computed(f"{tests}, so from these I keep {yes or 'nothing'}.")
    p.found(f"the list kept is then {kept}, with {len(kept)} entries.")
    total = sum(kept)
    p.computed(f"their sum is {total}, and {total} - {len(kept)} = {total - len(kept)}.")
    return _close(p, source, total - len(kept))


def slicing(p: Pad) -> Sketch:
    """String slices joined in a new order."""
    word, other = p.rng.sample(WORDS, k=2)
    i, j = p.rng.randint(1, 2), p.rng.randint(4, 5)
    mode = p.rng.choice(("upper", "reverse", "plain"))
    tail = {"upper": f"b = {other!r}[-{i}:].upper()", "reverse": f"b = {other!r}[::-1][:{i}]"}
    last = tail.get(mode, f"b = {other!r}[:{j}]")
    source = f"word = {word!r}\na = word[{i}:{j}]\n{last}\nprint(b + a + word[0])"
    a, b = word[i:j], run(f"{last}\nprint(b)")
    p.given(f"the string word is {word!r}")
    letters = ", ".join(f"{k}={c}" for k, c in enumerate(word))
    p.found(f"its letters by position are {letters}.")
    p.computed(f"the slice word[{i}:{j}] takes positions {i} to {j - 1}, so a is {a!r}.")
    p.given(f"the string b is built from {other!r}")
    if mode == "reverse":
        p.computed(f"{other!r} backwards is {other[::-1]!r}.")
    p.computed(f"that leaves {b!r} for b.")
    p.found(f"the first letter, word[0], is {word[0]!r}.")
    p.checked(f"The slice has length {j - i}, since the end {j} is left out.")
    return _close(p, source, b + a + word[0])


def tally(p: Pad) -> Sketch:
    """A dictionary of counts."""
    names = p.rng.sample(FRUIT, k=3)
    stock = dict(zip(names, p.rng.sample(range(2, 15), k=3), strict=True))
    moves = [(p.rng.choice(names), p.rng.randint(1, 6)) for _ in range(4)]
    moves[0] = (names[0], moves[0][1])
    source = (
        f"stock = {stock}\nmoves = {moves}\nfor name, n in moves:\n"
        f"    stock[name] = stock[name] + n\nprint(stock[{names[0]!r}] * len(stock))"
    )
    p.given(f"the dict stock starts as {stock}")
    p.given(f"the list moves is {moves}")
    for name, n in moves:
        p.computed(f"for {name}: {stock[name]} + {n} = {stock[name] + n}.")
        stock[name] += n
    p.found(f"in the end stock[{names[0]!r}] is {stock[names[0]]}, and stock has 3 keys.")
    result = stock[names[0]] * 3
    p.computed(f"{stock[names[0]]} * 3 = {result}.")
    return _close(p, source, result)


def functions(p: Pad) -> Sketch:
    """Two functions, one inside the other's argument."""
    a, b, c, x = (p.rng.randint(*r) for r in ((2, 6), (1, 9), (2, 5), (3, 12)))
    f, g = p.rng.choice((("grow", "trim"), ("f", "g"), ("outer", "inner")))
    y = p.rng.randint(1, 8)
    source = (
        f"def {f}(x):\n    return x * {a} + {b}\n\ndef {g}(x, y):\n    return x - y * {c}\n\n"
        f"p = {f}({x})\nq = {g}(p, {y})\nprint({f}(q))"
    )
    p.given(f"the function {f} multiplies its argument by {a} and then adds {b}")
    p.computed(
        f"calling {f}({x}): {x} * {a} = {x * a} and {x * a} + {b} = {x * a + b}, so that is p."
    )
    p.given(f"the function {g} subtracts {c} times its second argument")
    p1, cut = x * a + b, y * c
    q = p1 - cut
    p.computed(f"{y} * {c} = {cut}.")
    p.computed(f"the call {g}({p1}, {y}) is then {p1} - {cut} = {q}, which is q.")
    p.computed(f"finally {f}({q}): {q} * {a} = {q * a} and {q * a} + {b} = {q * a + b}.")
    p.checked(f"Undoing the last call, {q * a + b} - {b} = {q * a}, good.")
    return _close(p, source, q * a + b)


def pair(p: Pad) -> Sketch:
    """Two variables updated together, as in a Fibonacci sequence."""
    a, b, n, k = (p.rng.randint(*r) for r in ((1, 6), (2, 9), (4, 5), (1, 3)))
    source = f"a = {a}\nb = {b}\nfor i in range({n}):\n    a, b = b, a + b + {k}\nprint(b - a)"
    p.given(f"at first a is {a}", f"b is {b}", f"there are {n} rounds")
    for i in range(n):
        mid = a + b
        p.computed(f"round {i}: {a} + {b} = {mid}, {mid} + {k} = {mid + k}; a is {b}.")
        a, b = b, mid + k
    p.checked(f"The right side uses the old a and b, so a = {a} and b = {b} is correct.")
    p.computed(f"{b} - {a} = {b - a}.")
    return _close(p, source, b - a)


def stack(p: Pad) -> Sketch:
    """A list used as a stack."""
    x, y, z, w = p.rng.sample(range(2, 20), k=4)
    op = p.rng.choice(("+", "*"))
    source = (
        f"stack = [{x}, {y}]\nstack.append({z})\ntop = stack.pop()\n"
        f"stack.append(top {op} stack.pop())\nstack.insert(0, {w})\nprint(stack[-1] - stack[0])"
    )
    made = z + y if op == "+" else z * y
    p.given(f"the stack begins as [{x}, {y}]")
    p.given(f"{z} is appended and then popped into top")
    p.found(f"top is {z} and the stack is back to [{x}, {y}].")
    p.computed(f"the next pop takes {y}, and {z} {op} {y} = {made} is pushed.")
    p.found(f"now the stack is [{x}, {made}].")
    p.given(f"{w} is inserted at position 0")
    p.found(f"that makes [{w}, {x}, {made}], so the last entry is {made} and the first is {w}.")
    p.computed(f"{made} - {w} = {made - w}.")
    return _close(p, source, made - w)


def nested(p: Pad) -> Sketch:
    """Two nested loops over short ranges."""
    n, m, start, k = (p.rng.randint(*r) for r in ((2, 3), (2, 3), (0, 9), (2, 5)))
    source = (
        f"count = {start}\nfor i in range(1, {n + 1}):\n    for j in range(1, {m + 1}):\n"
        f"        count = count + i * {k} + j\nprint(count)"
    )
    count = start
    p.given(f"the variable count is {start} at first")
    p.given(f"the outer loop uses range(1, {n + 1})", f"the inner one range(1, {m + 1})")
    for i in range(1, n + 1):
        gains = [i * k + j for j in range(1, m + 1)]
        listed = " and ".join(f"{i * k} + {j} = {i * k + j}" for j in range(1, m + 1))
        p.computed(f"with i = {i} the product is {i} * {k} = {i * k}, so I add {listed}.")
        p.computed(f"these come to {sum(gains)}: {count} + {sum(gains)} = {count + sum(gains)}.")
        count += sum(gains)
    p.checked(f"There were {n} * {m} = {n * m} rounds of the inner loop in all.")
    return _close(p, source, count)


def indexed(p: Pad) -> Sketch:
    """Elements weighted by position, stopping early."""
    items, limit = p.rng.sample(range(2, 15), k=5), p.rng.randint(30, 60)
    source = (
        f"items = {items}\nlimit = {limit}\nscore = 0\nfor i, v in enumerate(items):\n"
        f"    score = score + i * v\n    if score > limit:\n        break\nprint(score)"
    )
    p.given(f"the list items is {items}", f"limit is {limit}")
    score = 0
    for i, v in enumerate(items):
        p.computed(f"index {i}: {i} * {v} = {i * v}, and {score} + {i * v} = {score + i * v}.")
        score += i * v
        if score > limit:
            p.found(f"{score} is more than {limit}, so the loop breaks here.")
            break
    p.checked("The first element counts for nothing, because its index is 0.")
    return _close(p, source, score)


def largest(p: Pad) -> Sketch:
    """A running maximum and its position over rows of a table."""
    names = p.rng.sample(FRUIT, k=4)
    amounts, prices = p.rng.sample(range(3, 15), k=4), p.rng.sample(range(2, 12), k=4)
    rows = list(zip(names, amounts, prices, strict=True))
    source = (
        f"rows = {rows}\nbest = 0\nwinner = ''\nfor name, n, price in rows:\n"
        f"    if n * price > best:\n        best = n * price\n        winner = name\n"
        f"print(winner + str(best))"
    )
    best, winner = 0, ""
    p.given(f"the list rows is {rows}")
    for name, n, price in rows:
        made = n * price
        verdict = f"beats {best}, so {name} leads" if made > best else f"does not beat {best}"
        p.computed(f"for {name}: {n} * {price} = {made}, which {verdict}.")
        best, winner = (made, name) if made > best else (best, winner)
    p.found(f"after the loop winner is {winner!r} and best is {best}.")
    return _close(p, source, f"{winner}{best}")


PROGRAMS: tuple[Callable[[Pad], Sketch], ...] = (
    *(conditional_sum, halving, append_filter, slicing, tally, functions, pair, stack, nested),
    *(indexed, largest),
)
