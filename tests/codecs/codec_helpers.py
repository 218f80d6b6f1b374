"""Text that several tests of this room use."""

CHINESE = "今天天气很好，我们去公园散步。明天可能会下雨，记得带伞。人工智能正在改变世界。"
SPACES = [" ", "  ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\x85", "\u2028"]
LETTERS = ["a", "aa", "aaa", "b", "été", "e\u0301", "naïve", "ſ", "İ", "今天", "天气", *CHINESE]
MARKS = ["0", "1234", "Ⅷ", "٣", "I'LL", "'s", "def f(x):\n", "{}[];", "==", "，", "🙂", "👩‍👩‍👧", "\x00", "\ue000"]
SNIPPETS = [*SPACES, *LETTERS, *MARKS]
# What cleaning mends, and what stands where it might: accents apart from their letters, line ends, controls, marks,
# halves of characters.
DIRT = [
    "\r",
    "\r\n",
    "\x07",
    "\x1f",
    "\x7f",
    "\x9f",
    "\ufeff",
    "\u0301",
    "e\u0301",
    "\u1112\u1161\u11ab",
    "\u212b",
    "=\u0338",
    ">\u0338",
    "\u2029",
]
DIRTY = [*SNIPPETS, *DIRT, *DIRT]
