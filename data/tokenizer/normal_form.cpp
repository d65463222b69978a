#include "data/tokenizer/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/error.h"

namespace elastron::data {

namespace {

// Characters that reorder, decompose or compose since a Unicode version after 9: combining marks,
// and the parts of later compositions (U+11930 to U+11938, and from U+11383 on).
constexpr int32_t kNewer[][2] = {
    {0x5c8, 0x5c9},     {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},
    {0x9fe, 0x9fe},     {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},
    {0x1715, 0x1715},   {0x1abf, 0x1af0},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},
    {0x105c9, 0x105c9}, {0x105e4, 0x105e4}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10ecb, 0x10ecf}, {0x10ef0, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x11382, 0x113d0},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
    {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x1611e, 0x1612f},
    {0x16d63, 0x16d6a}, {0x16ff0, 0x16ff1}, {0x1d127, 0x1d128}, {0x1d250, 0x1d281},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}, {0x1e6e3, 0x1e6f5},
};

// Characters since Unicode 9 that are others in NFKC: modifiers, squared and outlined letters, digits.
constexpr int32_t kNewerCompatible[][2] = {
    {0x32ff, 0x32ff},   {0xa7f1, 0xa7f4},   {0xab69, 0xab69},   {0x10781, 0x107ba},
    {0x1ccd6, 0x1ccf9}, {0x1e030, 0x1e06d}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

template <size_t n>
bool holds(const int32_t (&ranges)[n][2], int32_t c) {
  const auto* end = std::end(ranges);
  const auto* range = std::lower_bound(
      std::begin(ranges), end, c, [](const int32_t(&r)[2], int32_t value) { return r[1] < value; });
  return range != end && c >= (*range)[0];
}

bool is_newer(int32_t c) { return holds(kNewer, c); }

int combining_class(int32_t c) {
  return is_newer(c) ? 0 : utf8proc_get_property(c)->combining_class;
}

// Appends the decomposition of `c`: canonical, or compatible for NFKC.
void decompose(NormalForm form, int32_t c, std::vector<int32_t>& out) {
  const bool compatible = form == NormalForm::nfkc;
  if (is_newer(c) || (compatible && holds(kNewerCompatible, c))) {
    out.push_back(c);
    return;
  }
  constexpr utf8proc_ssize_t kMost = 32;  // U+FDFA has 18
  utf8proc_int32_t parts[kMost];
  int boundary = 0;
  const auto options = static_cast<utf8proc_option_t>(
      UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : utf8proc_option_t(0)));
  const auto count = utf8proc_decompose_char(c, parts, kMost, options, &boundary);
  ELASTRON_CHECK(count >= 1 && count <= kMost, "a decomposition has 1 to 18 characters");
  out.insert(out.end(), parts, parts + count);
}

// Composes a decomposed and ordered sequence in place.
void compose(std::vector<int32_t>& characters) {
  static_assert(sizeof(utf8proc_int32_t) == sizeof(int32_t));
  const auto length =
      utf8proc_normalize_utf32(characters.data(), utf8proc_ssize_t(characters.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  ELASTRON_CHECK(length >= 0, "composing does not fail");
  characters.resize(size_t(length));
}

// These properties decide whether a character can stand as it is.
class Properties {
 public:
  static const Properties& of(NormalForm form) {
    if (form == NormalForm::nfkc) {
      static const Properties compatible(NormalForm::nfkc);
      return compatible;
    }
    static const Properties canonical(NormalForm::nfc);
    return canonical;
  }
  // May reorder with, or compose with, what stands before it.
  bool joins(int32_t c) const { return (flags(c) & kJoins) != 0; }
  // Joins, or is not its own NFC.
  bool needs_work(int32_t c) const { return flags(c) != 0; }

 private:
  static constexpr int32_t kEnd = 0x30000;  // nothing above decomposes or combines
  static constexpr uint8_t kJoins = 1, kChanges = 2;

  explicit Properties(NormalForm form) : flags_(kEnd, 0) {
    std::vector<int32_t> parts;
    for (int32_t c = 0xa0; c < kEnd; ++c) {
      if ((c >= 0xd800 && c < 0xe000) || is_newer(c)) continue;
      if (combining_class(c) != 0) flags_[size_t(c)] |= kJoins;
      parts.clear();
      decompose(form, c, parts);
      if (parts.size() == 1 && parts[0] == c) continue;
      const int32_t last = parts.back();
      // U+0F73 and its like: starters that decompose into marks.
      if (combining_class(parts[0]) != 0) flags_[size_t(c)] |= kJoins;
      compose(parts);
      if (parts.size() == 1 && parts[0] == c) {
        flags_[size_t(last)] |= kJoins;
      } else {
        flags_[size_t(c)] |= kChanges;
      }
    }
    // What becomes a character that joins: Hangul letters, to NFKC.
    for (int32_t c = 0xa0; c < kEnd; ++c) {
      if ((flags_[size_t(c)] & kChanges) == 0) continue;
      parts.clear();
      decompose(form, c, parts);
      if (joins(parts[0])) flags_[size_t(c)] |= kJoins;
    }
  }
  uint8_t flags(int32_t c) const { return c < kEnd ? flags_[size_t(c)] : uint8_t(0); }

  std::vector<uint8_t> flags_;
};

int32_t next_character(std::string_view text, size_t& at) {
  utf8proc_int32_t c = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                      utf8proc_ssize_t(text.size() - at), &c);
  ELASTRON_CHECK(bytes > 0, "text for a tokenizer must be UTF-8");
  at += size_t(bytes);
  return c;
}

// Appends `text` in the form. utf8proc's own decomposition of strings orders marks by a bubble sort,
// quadratic in their number, and by a newer table.
void append_normalized(NormalForm form, std::string_view text, std::vector<int32_t>& scratch,
                       std::string& out) {
  scratch.clear();
  for (size_t at = 0; at < text.size();) decompose(form, next_character(text, at), scratch);
  for (auto begin = scratch.begin(); begin != scratch.end();) {
    const auto is_starter = [](int32_t c) { return combining_class(c) == 0; };
    begin = std::find_if_not(begin, scratch.end(), is_starter);
    const auto end = std::find_if(begin, scratch.end(), is_starter);
    std::ranges::stable_sort(begin, end, {}, combining_class);
    begin = end;
  }
  compose(scratch);
  for (const int32_t c : scratch) {
    utf8proc_uint8_t bytes[4];
    out.append(reinterpret_cast<const char*>(bytes), size_t(utf8proc_encode_char(c, bytes)));
  }
}

}  // namespace

std::string_view normalize(NormalForm form, std::string_view text, std::string& storage) {
  if (form == NormalForm::none) return text;
  const Properties& properties = Properties::of(form);
  // Everything below U+0300 is its own NFC and joins nothing; below U+00A0, its own NFKC.
  const uint8_t first_to_look_at = form == NormalForm::nfc ? 0xcc : 0xc2;
  std::vector<int32_t> scratch;
  bool changed = false;
  size_t copied = 0;    // of `text`, to storage
  size_t previous = 0;  // where the character before `at` begins
  for (size_t at = 0; at < text.size();) {
    if (const auto lead = uint8_t(text[at]); lead < first_to_look_at) {
      previous = at;
      at += lead < 0x80 ? 1 : 2;
      continue;
    }
    const size_t begin = at;
    const int32_t c = next_character(text, at);
    if (!properties.needs_work(c)) {
      previous = begin;
      continue;
    }
    // From the last character that nothing before can touch, to the next such.
    const size_t first = properties.joins(c) ? previous : begin;
    size_t end = at;
    while (at < text.size() && properties.joins(next_character(text, at))) end = at;
    at = end;
    if (!changed) storage.clear();
    changed = true;
    storage.append(text, copied, first - copied);
    append_normalized(form, text.substr(first, end - first), scratch, storage);
    copied = end;
    previous = end;  // nothing before `end` is touched again: what follows does not join
  }
  if (!changed) return text;
  return storage.append(text, copied);
}

}  // namespace elastron::data
