#include "core/file/line_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/philox.h"
#include "tests/support/scratch.h"

namespace elastron {
namespace {

class Lines : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return path_;
  }
  std::vector<std::string> read(const std::string& text, size_t longest = 8 << 20) {
    LineReader reader(write(text), longest);
    std::vector<std::string> lines;
    while (reader.next()) {
      lines.emplace_back(reader.line());
      EXPECT_EQ(reader.number(), int64_t(lines.size()));
      EXPECT_LE(reader.bytes_read(), reader.bytes());
    }
    EXPECT_EQ(reader.bytes_read(), text.size());
    return lines;
  }

  const test::Scratch folder_;
  const std::string path_ = folder_ / "lines";
};

TEST_F(Lines, AreWhatSplittingAtNewlinesGives) {
  using V = std::vector<std::string>;
  EXPECT_EQ(read("a\nbc\n"), (V{"a", "bc"}));
  EXPECT_EQ(read("a\n\n\nb"), (V{"a", "", "", "b"}));
  EXPECT_EQ(read("\n"), (V{""}));
  EXPECT_EQ(read("x"), (V{"x"}));
  EXPECT_EQ(read(std::string("\0\r\n", 3)), (V{std::string("\0\r", 2)}));
}

// Lengths around the size of the buffer, 1 MiB.
TEST_F(Lines, SpanBuffers) {
  const RandomStream random(3, RandomPurpose::test);
  std::string text;
  std::vector<std::string> want;
  constexpr size_t kBuffer = size_t(1) << 20;
  for (const size_t length : {kBuffer - 1, kBuffer, kBuffer + 1, size_t(0), size_t(5), 3 * kBuffer,
                              kBuffer - 7, 2 * kBuffer + 9}) {
    std::string line(length, 'a');
    for (size_t i = 0; i < length; i += 997) line[i] = char('b' + random.bits_at(i) % 20);
    want.push_back(line);
    text += line + "\n";
  }
  EXPECT_EQ(read(text), want);
  want.emplace_back("end");
  EXPECT_EQ(read(text + "end"), want);
}

TEST_F(Lines, SayWhetherTheyEnd) {
  LineReader reader(write("a\nb"), 10);
  ASSERT_TRUE(reader.next());
  EXPECT_TRUE(reader.ended_by_newline());
  ASSERT_TRUE(reader.next());
  EXPECT_FALSE(reader.ended_by_newline());
  EXPECT_EQ(reader.where(), path_ + ":2");
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.next());
}

TEST_F(Lines, OverTheLimitAreRefusedBeforeTheyAreHeld) {
  EXPECT_EQ(read(std::string(4096, 'x') + "\n", 4096).size(), 1u);
  EXPECT_THROW(read(std::string(4097, 'x') + "\n", 4096), InputError);
  EXPECT_THROW(read("a\n" + std::string(5 << 20, 'x'), 3 << 20), InputError);
}

TEST_F(Lines, OfAFileThatShrinks) {
  LineReader reader(write(std::string(3 << 20, 'x')), 8 << 20);
  ASSERT_EQ(truncate(path_.c_str(), 100), 0);
  EXPECT_THROW(reader.next(), InputError);
}

TEST_F(Lines, OfNoFile) {
  EXPECT_THROW(LineReader("/none/at/all", 10), InputError);
  EXPECT_THROW(LineReader("/tmp", 10), InputError);
  EXPECT_THROW(LineReader(write(""), 10), InputError);
}

}  // namespace
}  // namespace elastron
