// Frames and messages; that TensorBoard itself reads them: tests/oracle/read_events.py.
#include "train/metrics/event_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "tests/support/scratch.h"
#include "train/metrics/event.pb.h"
#include "train/metrics/scalar_tags.h"

namespace elastron::train {
namespace {

TEST(Crc32c, KnownValues) {
  // RFC 3720, B.4.
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Crc32c, FrameIsThatOfTheFormat) {
  // From tests/oracle/read_events.py.
  const unsigned char expected[] = {0x03, 0,    0,   0,   0,   0,    0,    0,    0xB0, 0x99,
                                    0x49, 0x0E, 'a', 'b', 'c', 0x6E, 0x57, 0xF1, 0x21};
  const std::string frame = framed("abc");
  ASSERT_EQ(frame.size(), sizeof expected);
  EXPECT_EQ(std::memcmp(frame.data(), expected, sizeof expected), 0);
}

class EventFileTest : public ::testing::Test {
 protected:
  static std::vector<event::Event> events_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    std::vector<event::Event> events;
    for (size_t at = 0; at < bytes.size();) {
      uint64_t length = 0;
      std::memcpy(&length, bytes.data() + at, 8);
      const std::string payload = bytes.substr(at + 12, length);
      EXPECT_EQ(framed(payload), bytes.substr(at, length + 16));
      EXPECT_TRUE(events.emplace_back().ParseFromString(payload));
      at += length + 16;
    }
    return events;
  }

  const test::Scratch scratch_;
  const std::filesystem::path folder_ = scratch_ / "events";
};

TEST_F(EventFileTest, VersionStartAndScalars) {
  EventFile file(folder_.string(), 7);
  file.scalars(8, {{"train/loss", 0.5}, {"router/msr/Code", 0.25}});
  const auto events = events_of(file.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].session_log().status(), event::SessionLog::START);
  EXPECT_EQ(events[1].step(), 8);
  EXPECT_EQ(events[2].step(), 8);
  ASSERT_EQ(events[2].summary().value_size(), 2);
  EXPECT_EQ(events[2].summary().value(0).tag(), "router/msr/Code");
  EXPECT_EQ(events[2].summary().value(0).simple_value(), 0.25f);
  EXPECT_EQ(events[2].summary().value(1).tag(), "train/loss");
}

TEST_F(EventFileTest, TwoFilesOfOneSecondAreTwo) {
  EventFile first(folder_.string(), 0), second(folder_.string(), 0);
  EXPECT_LT(first.path(), second.path());
}

TEST(ScalarTags, OneNameForEachFigure) {
  const auto scalars = scalars_by_tag({{"step", 3},
                                       {"loss", 2.0},
                                       {"lr", 0.1},
                                       {"lr_router", 0.1},
                                       {"grad_norm", nullptr},
                                       {"event", "eval"},
                                       {"msr", 0.5},
                                       {"msr_by_task", {{"Code", 1.0}, {"Single QA", 0.25}}}});
  const std::map<std::string, double> expected = {{"train/loss", 2.0},
                                                  {"train/lr/router", 0.1},
                                                  {"router/msr", 0.5},
                                                  {"router/msr/Code", 1.0},
                                                  {"router/msr/Single QA", 0.25}};
  EXPECT_EQ(scalars, expected);
}

}  // namespace
}  // namespace elastron::train
