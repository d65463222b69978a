// What a checkpoint says beside its tensors: written and read back, and refused when any of it is
// damaged or missing.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "tests/support/scratch.h"
#include "train/checkpoint/header.h"
#include "train/checkpoint/integrity.h"

namespace elastron::train {
namespace {

class Header : public ::testing::Test {
 protected:
  // A sealed file with one tensor; `change` has the last word.
  void write(const std::function<void(Hdf5File&)>& change = {}) {
    std::filesystem::remove(path_);
    const Hdf5Dataset dataset{"/params/w", DType::f32, {2, 3}};
    {
      Hdf5File file = Hdf5File::create(path_);
      file.make_dataset(dataset);
      file.write(dataset.path, Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}, cpu_),
                 {0, 0});
      file.close();
    }
    Checksums sums;
    {
      const Hdf5File file = Hdf5File::open(path_, false);
      sums = combine_digests({dataset}, {own_digests(file, {dataset}, 0, 1)});
    }
    Hdf5File file = Hdf5File::open(path_, true);
    seal(file, header_, sums);
    if (change) change(file);
    file.close();
  }
  // What a reader does before it believes any of it.
  CheckpointHeader read() const {
    const Hdf5File file = Hdf5File::open(path_, false);
    check_format(file);
    const Checksums sealed = sealed_checksums(file);
    const auto datasets = sealed_datasets(file, sealed);
    compare_checksums(file, sealed, combine_digests(datasets, {own_digests(file, datasets, 0, 1)}));
    return read_header(file);
  }
  void expect_refused(const std::string& what, const std::string& fragment = "") const {
    try {
      read();
      ADD_FAILURE() << what << " was read";
    } catch (const CheckpointError& error) {
      EXPECT_NE(std::string(error.what()).find(path_), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(fragment), std::string::npos) << error.what();
    }
  }

  CpuDevice cpu_;
  const test::Scratch folder_;
  const std::string path_ = folder_ / "step.h5";
  CheckpointHeader header_{.step = 123456789012,
                           .tokens_seen = int64_t(1) << 60,
                           .objective = "router",
                           .backbone_fingerprint = "0123abcd",
                           .config = "train: {steps: 3}\n# \"quotes\" and \xc3\xa4\n",
                           .state = {{"updates", "7"}, {"best_eval_loss", "inf"}},
                           .data = {{"epoch", "1"}, {"fingerprint", "f\"f\\f"}},
                           .random = {{"seed", "42"}}};
};

void expect_same(const CheckpointHeader& a, const CheckpointHeader& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.tokens_seen, b.tokens_seen);
  EXPECT_EQ(a.objective, b.objective);
  EXPECT_EQ(a.backbone_fingerprint, b.backbone_fingerprint);
  EXPECT_EQ(a.config, b.config);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.data, b.data);
  EXPECT_EQ(a.random, b.random);
}

TEST_F(Header, RoundTrip) {
  write();
  expect_same(read(), header_);
  header_ = {};  // nothing in it at all
  write();
  expect_same(read(), header_);
}

TEST_F(Header, EveryAttributeIsGuarded) {
  for (const char* name : {"objective", "backbone_fingerprint", "elastron_version"}) {
    write([&](Hdf5File& file) { file.set_attribute(name, "router2"); });
    expect_refused(name);
  }
  for (const char* name : {"step", "tokens_seen"}) {
    write([&](Hdf5File& file) { file.set_attribute(name, int64_t(5)); });
    expect_refused(name);
  }
}

TEST_F(Header, OtherFormatsAndVersions) {
  write([](Hdf5File& file) { file.set_attribute("format", "somebody-else's"); });
  expect_refused("another format", "not an elastron checkpoint");
  for (const int64_t version : {int64_t(0), kCheckpointFormatVersion + 1, int64_t(-1)}) {
    write([&](Hdf5File& file) { file.set_attribute("format_version", version); });
    expect_refused("another version", "format version " + std::to_string(version));
  }
}

TEST_F(Header, AttributesOfAnotherTypeOrMissing) {
  write([](Hdf5File& file) { file.set_attribute("step", "5"); });
  expect_refused("a step that is text");
  write([](Hdf5File& file) { file.set_attribute("objective", int64_t(5)); });
  expect_refused("an objective that is a number");
  // A file with the format's mark alone.
  std::filesystem::remove(path_);
  Hdf5File file = Hdf5File::create(path_);
  file.set_attribute("format", "elastron-checkpoint");
  file.set_attribute("format_version", kCheckpointFormatVersion);
  file.close();
  expect_refused("no attributes");
}

TEST_F(Header, TextsThatAreNoLists) {
  // Sealed as they are: the reader itself must refuse them.
  for (const char* text :
       {"", "[]", "{\"a\": 1}", "{\"a\": \"1\", \"a\": \"2\"}", "{\"a\"", "nul"}) {
    std::filesystem::remove(path_);
    Hdf5File file = Hdf5File::create(path_);
    write_attributes(file, header_);
    for (const auto& [name, value] : header_texts(header_)) {
      file.write_text(name, name == "/objective/state" ? text : value);
    }
    EXPECT_THROW(read_header(file), CheckpointError) << text;
    file.close();
  }
}

TEST_F(Header, ATextThatIsMissing) {
  std::filesystem::remove(path_);
  Hdf5File file = Hdf5File::create(path_);
  write_attributes(file, header_);
  for (const auto& [name, value] : header_texts(header_)) {
    if (name != "/data/cursor") file.write_text(name, value);
  }
  EXPECT_THROW(read_header(file), CheckpointError);
  file.close();
}

}  // namespace
}  // namespace elastron::train
