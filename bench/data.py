"""What the benchmarks back up: text with the skewed words of real prose, noise, tables. Made from a seed, at disk speed, and
never the same twice over the length of a chunk, so that no engine finds a repeat that real data would not have."""

import itertools, os, random


class Text:
    """Words by Zipf's law, in phrases, in rows. Drawing rows from a pool of 64 MB costs a copy; drawing phrases, little more."""

    def __init__(self, seed, pool_bytes=0):
        self.rng = rng = random.Random(seed)
        syllables = ["".join(s) for s in itertools.product("bcdfghklmnprstvw", "aeiou")] + ["ent", "ing", "ar", "ost"]
        words = list(dict.fromkeys("".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(24_000)))
        weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(len(words))))
        drawn = iter(rng.choices(words, cum_weights=weights, k=600_000))
        self.phrases = [" ".join(itertools.islice(drawn, rng.randint(2, 6))).encode() for _ in range(120_000)]
        self.mean = sum(map(len, self.phrases)) / len(self.phrases) + 1
        self.pool = [self.row(300, 1200) for _ in range(pool_bytes // 750)]

    def row(self, least, most):
        n = self.rng.randint(least, most)
        return b" ".join(self.rng.choices(self.phrases, k=int(n / self.mean) + 1))[:n]

    def block(self, n):
        """n bytes of rows from the pool, in an order of their own."""
        out = b"\n".join(self.rng.choices(self.pool, k=n // 700 + 8))
        return (out + b"\n" + self.block(n - len(out)))[:n] if len(out) < n else out[:n]


def mixed_append(path, text, until_bytes, text_share=0.7):
    """Text and noise by turns until the file has that many bytes."""
    with open(path, "ab") as f:
        while (left := until_bytes - f.tell()) > 0:
            n = min(left, 32_000_000)
            f.write(text.block(int(n * text_share)) + os.urandom(n - int(n * text_share)))


def small_files(folder, have, want):
    """Files numbered from `have` up to `want`, a thousand a folder, of a few bytes each."""
    for i in range(have, want):
        d = f"{folder}/{i // 1000}"
        if i % 1000 == 0:
            os.makedirs(d)
        fd = os.open(f"{d}/{i}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, b"%d" % (i * 7919))
        os.close(fd)
