// Properties, over many random cases; every failure prints its case.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/config/schema.h"
#include "core/error.h"
#include "core/philox.h"
#include "tests/core/config/example_config.h"

namespace elastron::config {
namespace {

using example::ExampleConfig;

class Random {
 public:
  explicit Random(uint32_t which) : stream_(7, RandomPurpose::test, which) {}
  uint32_t below(uint32_t n) { return stream_.next_below(n); }
  uint64_t bits64() { return uint64_t(stream_.next_bits()) << 32 | stream_.next_bits(); }
  bool coin() { return below(2) == 0; }
  // In (low, high), any magnitude.
  double number(double low, double high) {
    while (true) {
      const double x = coin() ? std::bit_cast<double>(bits64())
                              : low + (high - low) * double(bits64()) * 0x1p-64;
      if (std::isfinite(x) && x > low && x < high) return x;
    }
  }
  int64_t positive(int64_t max) { return 1 + int64_t(bits64() % uint64_t(max)); }
  std::string text() {
    static constexpr std::string_view pieces[] = {"a",
                                                  "Z",
                                                  "0",
                                                  "1e3",
                                                  " ",
                                                  "  ",
                                                  "\t",
                                                  "\n",
                                                  ":",
                                                  ": ",
                                                  "#",
                                                  " #",
                                                  "-",
                                                  "- ",
                                                  "'",
                                                  "\"",
                                                  "\\",
                                                  "{",
                                                  "}",
                                                  "[",
                                                  "]",
                                                  ",",
                                                  "&",
                                                  "*",
                                                  "!",
                                                  "%",
                                                  "@",
                                                  "`",
                                                  "|",
                                                  ">",
                                                  "?",
                                                  "~",
                                                  "null",
                                                  "none",
                                                  "auto",
                                                  "true",
                                                  ".",
                                                  "/",
                                                  "\x01",
                                                  "\x7f",
                                                  "\xC2\x85",
                                                  "\xE2\x80\xA8",
                                                  "ü",
                                                  "\xF0\x9F\x98\x80",
                                                  "\xEF\xBF\xBF",
                                                  "\xEF\xBB\xBF"};
    std::string s;
    for (uint32_t n = below(8); n > 0; --n) s += pieces[below(std::size(pieces))];
    return s;
  }
  std::string filled_text() {
    const std::string s = text();
    return s.empty() ? "x" : s;
  }

 private:
  RandomStream stream_;
};

ExampleConfig random_config(Random& random) {
  ExampleConfig c;
  c.router.ssa.block = 8 * random.positive(1 << 20);
  c.router.ssa.local = c.router.ssa.block * random.positive(1 << 20);
  c.router.ssa.sink = random.positive(std::numeric_limits<int64_t>::max()) - 1;
  c.router.mode = random.coin() ? example::Mode::fa_ssa : example::Mode::fa_xa;
  if (random.coin()) c.router.clamp = random.number(0, 1e300);
  c.router.target.clear();
  for (uint32_t n = random.below(4); n > 0; --n) {
    std::string name = random.filled_text();
    if (valid_name(name)) c.router.target[name] = random.number(0, 1);
  }
  c.train.micro_batch = int32_t(random.positive(std::numeric_limits<int32_t>::max()));
  c.train.steps = std::numeric_limits<int64_t>::max() - random.positive(1 << 30);
  c.train.lr = random.number(0, 1);
  c.train.deterministic = random.coin();
  for (uint32_t n = random.below(4); n > 0; --n) c.train.trainable.push_back(random.filled_text());
  c.train.lengths.clear();
  for (uint32_t n = random.below(4); n > 0; --n)
    c.train.lengths.push_back(random.positive(1 << 30));
  c.train.betas.assign(random.below(3), random.number(0, 1));
  if (random.coin()) c.data_ranks.value = random.positive(1 << 30);
  c.dir = random.filled_text();
  if (random.coin()) c.note = random.text();
  return c;
}

TEST(RoundTrip, DumpReadsBackExactly) {
  for (uint32_t i = 0; i < 3000; ++i) {
    Random random(i);
    const ExampleConfig c = random_config(random);
    const std::string dump = dump_config(c);
    ExampleConfig back;
    ASSERT_NO_THROW(back = parse_config<ExampleConfig>(dump, "dump")) << "case " << i << "\n"
                                                                      << dump;
    const auto differences = config_differences(c, back);
    ASSERT_TRUE(differences.empty()) << "case " << i << ", " << differences[0].key << "\n" << dump;
    // Bits, not only text.
    ASSERT_EQ(std::bit_cast<uint64_t>(c.train.lr), std::bit_cast<uint64_t>(back.train.lr));
    ASSERT_EQ(c.dir, back.dir);
    ASSERT_EQ(c.note, back.note);
    ASSERT_EQ(c.router.target, back.router.target);
    ASSERT_EQ(c.train.trainable, back.train.trainable);
    ASSERT_EQ(dump, dump_config(back));
  }
}

TEST(RoundTrip, DumpWithOriginsReadsBackToo) {
  Random random(1);
  const ExampleConfig c = random_config(random);
  Origins origins;
  parse_config<ExampleConfig>(dump_config(c), "odd\nname #.yaml", &origins);
  const auto back = parse_config<ExampleConfig>(dump_config(c, &origins), "dump");
  EXPECT_TRUE(config_differences(c, back).empty());
}

// Whatever is accepted must print and read back to the same thing; everything else is a
// UsageError, nothing crashes.
TEST(RoundTrip, MutatedFiles) {
  const std::string original = reference_config<ExampleConfig>();
  static constexpr std::string_view noise = "\n\t :#-'\"\\{}[],&*!%@|>?~.019eax\x04\x80\xff";
  int accepted = 0;
  int refused = 0;
  for (uint32_t i = 0; i < 6000; ++i) {
    Random random(1000000 + i);
    std::string text = original;
    for (uint32_t n = 1 + random.below(4); n > 0; --n) {
      const size_t at = random.below(uint32_t(text.size()));
      const char c = noise[random.below(uint32_t(noise.size()))];
      switch (random.below(4)) {
        case 0: text[at] = c; break;
        case 1: text.insert(at, 1, c); break;
        case 2: text.erase(at, 1 + random.below(20)); break;
        case 3: text.insert(at, text.substr(random.below(uint32_t(text.size())), 30)); break;
      }
    }
    ExampleConfig c;
    try {
      c = parse_config<ExampleConfig>(text, "mutant");
      ++accepted;
    } catch (const UsageError& error) {
      ++refused;
      continue;
    }
    const auto back = parse_config<ExampleConfig>(dump_config(c), "dump");
    ASSERT_TRUE(config_differences(c, back).empty()) << "case " << i << "\n" << text;
  }
  EXPECT_GT(accepted, 500);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace elastron::config
