"""MurmurHash3, written from its definition to check the graph's."""


def murmur3(text):
    """MurmurHash3 x86 32 with seed 0 (Appleby, public domain), by the book."""
    data, mask = text.encode(), 0xFFFFFFFF
    value, end = 0, len(data) // 4 * 4
    for at in range(0, end, 4):
        word = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) & mask
        value ^= word * 0x1B873593 & mask
        value = (value << 13 | value >> 19) & mask
        value = (value * 5 + 0xE6546B64) & mask
    if data[end:]:
        word = int.from_bytes(data[end:], "little") * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) & mask
        value ^= word * 0x1B873593 & mask
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & mask
    value = (value ^ value >> 13) * 0xC2B2AE35 & mask
    return value ^ value >> 16
