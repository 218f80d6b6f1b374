"""Text that several tests of this room use."""

CHINESE = "今天天气很好，我们去公园散步。明天可能会下雨，记得带伞。人工智能正在改变世界。"
SPACES = [" ", "  ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\x85", "\u2028"]
LETTERS = ["a", "aa", "aaa", "b", "été", "e\u0301", "naïve", "ſ", "İ", "今天", "天气", *CHINESE]
MARKS = ["0", "1234", "Ⅷ", "٣", "I'LL", "'s", "def f(x):\n", "{}[];", "==", "，", "🙂", "👩‍👩‍👧", "\x00", "\ue000"]
SNIPPETS = [*SPACES, *LETTERS, *MARKS]
