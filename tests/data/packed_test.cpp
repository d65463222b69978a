// Packed files: the same documents as the JSONL source gives, the same bytes whoever makes them,
// and nothing believed that a damaged or foreign file says.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/file/hdf5.h"
#include "data/jsonl.h"
#include "data/pack_jsonl.h"
#include "data/packed_writer.h"
#include "data/source.h"
#include "tests/data/support.h"

namespace elastron::data {
namespace {

using test::Ids;
using test::kEos;

bool same(const Document& a, const Document& b) {
  return a.ids == b.ids && a.user_length == b.user_length && a.answer_offset == b.answer_offset &&
         a.answer_length == b.answer_length && a.task_id == b.task_id && a.kind_id == b.kind_id &&
         a.sample_id == b.sample_id && a.labels == b.labels;
}

void expect_same_packs(const PackSource& a, const PackSource& b) {
  ASSERT_EQ(a.packs(), b.packs());
  for (int64_t p = 0; p < a.packs(); ++p) {
    const auto x = a.pack(p), y = b.pack(p);
    ASSERT_EQ(x.size(), y.size()) << p;
    for (size_t d = 0; d < x.size(); ++d) EXPECT_TRUE(same(x[d], y[d])) << p << " " << d;
  }
  EXPECT_EQ(a.kinds(), b.kinds());
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What is thrown, whatever its type; 0 when nothing is.
struct Failure {
  int code = 0;
  std::string message;
};
Failure failure_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return {int(error.kind()), error.what()};
  }
  return {};
}

class PackedTest : public ::testing::Test {
 protected:
  // Records of one to `most` words, of all tasks, every third with a kind of its own.
  std::string records(int count, uint32_t seed, uint32_t most = 30) const {
    RandomStream random(seed, RandomPurpose::test);
    std::string text;
    for (int i = 0; i < count; ++i) {
      Record r{.question = "a", .answer = "b c", .task = kTaskNames[random.next_below(kTaskCount)]};
      for (uint32_t w = 1 + random.next_below(most); w > 0; --w) {
        r.context += std::string(1, char('a' + random.next_below(8))) + " ";
      }
      if (i % 3 == 0) r.kind = "kind " + std::to_string(random.next_below(4));
      text += jsonl_line(r);
    }
    return text;
  }
  PackSummary pack(const std::vector<std::string>& files, const std::string& out, int threads = 2) {
    return pack_jsonl(files, out, config_, *tokenizer_, kEos, folder_.path(), threads);
  }
  std::unique_ptr<PackSource> open(const std::vector<std::string>& files, Format format) {
    DataConfig config = config_;
    config.format = format;
    config.train = files;
    return open_training_source(config, *tokenizer_, kEos, folder_.path());
  }
  // Opens the file and reads all of it.
  Failure failure(const std::string& path) {
    return failure_of([&] {
      const auto source = open({path}, Format::packed);
      for (int64_t p = 0; p < source->packs(); ++p) source->pack(p);
    });
  }
  std::vector<std::string> files_in_folder() const {
    std::vector<std::string> names;
    for (const auto& e : std::filesystem::directory_iterator(folder_.path())) {
      names.push_back(e.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  test::Scratch folder_;
  std::string out_ = folder_.path() + "/out.h5";
  std::unique_ptr<Tokenizer> tokenizer_ = test::letters();
  DataConfig config_{.max_tokens = 40};
};

TEST_F(PackedTest, HoldsWhatTheJsonlSourceGives) {
  const std::string file = folder_.write("x.jsonl", records(500, 1));
  for (const Packing packing : {Packing::sorted, Packing::first_fit, Packing::none}) {
    for (const LabelMode labels : {LabelMode::all, LabelMode::answer}) {
      config_.packing = packing;
      config_.label_mode = labels;
      const PackSummary summary = pack({file}, out_);
      const auto packed = open({out_}, Format::packed);
      expect_same_packs(*open({file}, Format::jsonl), *packed);
      EXPECT_EQ(summary.packs, packed->packs());
      EXPECT_EQ(summary.documents, 500);
      EXPECT_EQ(summary.counts.records, 500);
      int64_t tokens = 0, documents = 0;
      for (const auto& task : summary.tasks) {
        tokens += task.tokens;
        documents += task.documents;
      }
      EXPECT_EQ(tokens, summary.tokens);
      EXPECT_EQ(documents, summary.documents);
    }
  }
}

TEST_F(PackedTest, HasTheSameBytesForAnyNumberOfThreads) {
  // Many batches in flight; some records are dropped.
  config_.max_tokens = 400;
  config_.min_tokens = 20;
  config_.overlong = Overlong::drop;
  config_.unknown_task = UnknownTask::drop;
  std::string text = records(3000, 2, 420);
  for (int i = 0; i < 5; ++i) text += jsonl_line({.context = "a", .task = "Poetry"});
  const std::string one = folder_.write("one.jsonl", text);
  const std::string two = folder_.write("two.jsonl", records(500, 3, 420));
  ASSERT_GT(text.size(), size_t(20) << 16);
  std::string first;
  for (const int threads : {1, 2, 5}) {
    const PackSummary s = pack({one, two}, out_, threads);
    EXPECT_EQ(s.counts.records, 3505);
    EXPECT_EQ(s.counts.unknown_task, 5);
    EXPECT_GT(s.counts.too_short, 0);
    EXPECT_GT(s.counts.overlong, 0);
    EXPECT_EQ(s.documents + s.counts.dropped(), s.counts.records);
    const std::string bytes = bytes_of(out_);
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << threads;
  }
  EXPECT_EQ(files_in_folder(), (std::vector<std::string>{"one.jsonl", "out.h5", "two.jsonl"}));
}

TEST_F(PackedTest, TheFirstErrorInTheFilesIsToldWhoeverMeetsIt) {
  std::string text = records(2000, 4);
  text += "{\n" + records(2000, 5) + "[]\n" + std::string((size_t(64) << 20) + 1, 'x') + "\n";
  const std::string file = folder_.write("x.jsonl", text);
  for (const int threads : {1, 2, 5}) {
    const Failure f = failure_of([&] { pack({file}, out_, threads); });
    EXPECT_EQ(f.code, 3);
    EXPECT_NE(f.message.find(file + ":2001, line 1 byte"), std::string::npos) << f.message;
  }
  EXPECT_EQ(files_in_folder(), (std::vector<std::string>{"x.jsonl"}));
}

TEST_F(PackedTest, ReplacesTheFileOnlyWhenAllIsDone) {
  const std::string good = folder_.write("good.jsonl", records(20, 6));
  const std::string bad = folder_.write("bad.jsonl", records(20, 7) + "{\n");
  folder_.write(".out.h5.tmp", "of a writer that was killed");
  pack({good}, out_);
  const std::string before = bytes_of(out_);
  EXPECT_EQ(failure_of([&] { pack({bad}, out_); }).code, 3);
  EXPECT_EQ(failure_of([&] { pack({good, folder_.path() + "/none.jsonl"}, out_); }).code, 3);
  EXPECT_EQ(failure_of([&] { pack({good}, good); }).code, 2);
  EXPECT_EQ(failure_of([&] { pack({good}, folder_.path()); }).code, 2);
  EXPECT_EQ(failure_of([&] { pack({good}, folder_.path() + "/none/out.h5"); }).code, 3);
  config_.min_tokens = 39;
  const Failure nothing = failure_of([&] { pack({good}, out_); });
  EXPECT_EQ(nothing.code, 3);
  EXPECT_NE(nothing.message.find("no document is left of 20 records (dropped: 0 unknown task, "),
            std::string::npos);
  // The caller ends it at any point.
  config_.min_tokens = 1;
  for (const auto phase : {PackProgress::Phase::tokenising, PackProgress::Phase::writing,
                           PackProgress::Phase::verifying}) {
    const auto stop = [&](const PackProgress& p) {
      if (p.phase == phase) throw std::runtime_error("stop");
    };
    EXPECT_THROW(pack_jsonl({good}, out_, config_, *tokenizer_, kEos, folder_.path(), 2, stop),
                 std::runtime_error);
  }
  EXPECT_TRUE(bytes_of(out_) == before);
  EXPECT_EQ(files_in_folder(), (std::vector<std::string>{"bad.jsonl", "good.jsonl", "out.h5"}));
}

TEST_F(PackedTest, SeveralFilesAreOneAfterTheOther) {
  const std::string a = folder_.write("a.jsonl", records(50, 8));
  const std::string b = folder_.write("b.jsonl", records(70, 9));
  config_.packing = Packing::none;
  const std::string packed_a = folder_.path() + "/a.h5", packed_b = folder_.path() + "/b.h5";
  pack({a}, packed_a);
  pack({b}, packed_b);
  const auto both = open({packed_a, packed_b}, Format::packed);
  expect_same_packs(*open({a, b}, Format::jsonl), *both);
  EXPECT_NE(both->fingerprint(), open({packed_b, packed_a}, Format::packed)->fingerprint());
  EXPECT_NE(both->fingerprint(), open({packed_a}, Format::packed)->fingerprint());
  EXPECT_EQ(both->fingerprint(), open({packed_a, packed_b}, Format::packed)->fingerprint());
  EXPECT_NE(both->summary().find("120 documents"), std::string::npos);
  EXPECT_THROW(both->pack(120), LogicError);
}

TEST_F(PackedTest, IsRefusedForAnotherModelOrConfiguration) {
  pack({folder_.write("x.jsonl", records(20, 10))}, out_);
  EXPECT_EQ(failure(out_).code, 0);

  std::string other = test::letters_json();
  other.replace(other.find("\"h\": 9"), 6, "\"z\": 9");
  tokenizer_ = parse_tokenizer(other, "other");
  Failure f = failure(out_);
  EXPECT_EQ(f.code, 3);
  EXPECT_EQ(f.message, "the file was packed with another tokenizer (" + out_ +
                           "): pack the data with the tokenizer of model.path");
  tokenizer_ = test::letters();

  DataConfig config = config_;
  config.format = Format::packed;
  config.train = config.eval = {out_};
  f = failure_of([&] { open_training_source(config, *tokenizer_, 2, ""); });
  EXPECT_EQ(f.code, 3);
  EXPECT_NE(f.message.find("end-of-sequence token is 1, the model's is 2"), f.message.npos);

  config.label_mode = LabelMode::answer;
  f = failure_of([&] { open_evaluation_source(config, *tokenizer_, kEos, ""); });
  EXPECT_EQ(f.code, 2);
  EXPECT_NE(f.message.find("(data.label_mode): set data.label_mode: all"), f.message.npos);

  config.label_mode = LabelMode::all;
  config.max_tokens = 20;
  f = failure_of([&] { open_training_source(config, *tokenizer_, kEos, ""); });
  EXPECT_EQ(f.code, 2);
  EXPECT_NE(f.message.find("more than data.max_tokens = 20"), f.message.npos) << f.message;

  for (const std::string& path :
       {folder_.path() + "/none.h5", folder_.path(), folder_.write("x.h5", "not HDF5 at all"),
        folder_.write("empty.h5", "")}) {
    f = failure(path);
    EXPECT_EQ(f.code, 3) << f.message;
    EXPECT_NE(f.message.find(path), f.message.npos) << f.message;
  }
}

// tests/oracle/make_packed_fixtures.py: the data path written once more in Python.
TEST(PackedFixtures, ColumnsAreThoseOfTheReference) {
  const std::string fixtures = ELASTRON_TEST_FIXTURES;
  const auto cases = nlohmann::json::parse(bytes_of(fixtures + "/packed/cases.json"));
  ASSERT_EQ(cases.size(), 5u);
  const test::Scratch folder;
  for (const auto& c : cases) {
    const std::string family = c["family"];
    const auto& o = c["options"];
    const auto config = config::parse_config<DataConfig>(
        nlohmann::json{{"max_tokens", o["max_tokens"]},
                       {"min_tokens", o["min_tokens"]},
                       {"packing", o["packing"]},
                       {"label_mode", o["label_mode"]},
                       {"chat_template", o["chat_template"]},
                       {"unknown_task", "drop"},
                       {"overlong", "drop"},
                       {"prompts",
                        {{"summarization_before", o.value("summarization_before", "")},
                         {"summarization_after", o.value("summarization_after", "")},
                         {"code_before", o.value("code_before", "")}}}}
            .dump(),
        "fixture");
    const auto tokenizer = load_tokenizer(fixtures + "/tokenizer/" + family);
    const std::string out = folder.path() + "/out.h5";
    const PackSummary summary = pack_jsonl({fixtures + "/packed/records.jsonl"}, out, config,
                                           *tokenizer, c["eos"], folder.path(), 2);
    EXPECT_EQ(summary.counts.unknown_task, c["dropped"]["unknown task"]);
    EXPECT_EQ(summary.counts.too_short, c["dropped"]["short"]);
    EXPECT_EQ(summary.counts.overlong, c["dropped"]["overlong"]);
    const PackedFile file(out);
    ASSERT_EQ(file.packs(), int64_t(c["packs"].size())) << o;
    for (int64_t p = 0; p < file.packs(); ++p) {
      const auto& wanted = c["packs"][size_t(p)];
      Ids ids, labels;
      std::vector<int64_t> lengths = {0};
      std::vector<int32_t> tasks;
      std::vector<RangeIds> ranges;
      for (const Document& d : file.pack(p)) {
        for (int64_t i = 0; i < d.length(); ++i) {
          ids.push_back(d.ids[size_t(i)]);
          labels.push_back(d.predicted(i) ? ids.back() : -100);
        }
        lengths.push_back(int64_t(ids.size()));
        tasks.push_back(d.task_id);
        ranges.push_back(d.range_ids());
      }
      EXPECT_EQ(nlohmann::json(ids), wanted["input_ids"]) << family << o << p;
      EXPECT_EQ(nlohmann::json(labels), wanted["labels"]) << family << o << p;
      EXPECT_EQ(nlohmann::json(lengths), wanted["seq_lengths"]) << family << o << p;
      EXPECT_EQ(nlohmann::json(tasks), wanted["task_ids"]) << family << o << p;
      EXPECT_EQ(nlohmann::json(ranges), wanted["range_ids"]) << family << o << p;
    }
  }
}

// Any flipped bit is noticed, or is one that means nothing; so is any cut.
TEST_F(PackedTest, DamageIsNoticed) {
  pack({folder_.write("x.jsonl", records(60, 11))}, out_);
  const std::string bytes = bytes_of(out_);
  const auto whole = open({out_}, Format::packed);
  RandomStream random(12, RandomPurpose::test);
  const std::string bad = folder_.path() + "/bad.h5";
  int noticed = 0;
  constexpr int kFlips = 400;
  for (int i = 0; i < kFlips; ++i) {
    std::string flipped = bytes;
    const size_t at = random.next_below(uint32_t(bytes.size()));
    flipped[at] = char(flipped[at] ^ (1 << random.next_below(8)));
    folder_.write("bad.h5", flipped);
    const Failure f = failure(bad);
    ASSERT_TRUE(f.code == 0 || f.code == 3) << at << " " << f.message;
    noticed += f.code == 3;
    if (f.code == 3) {
      EXPECT_NE(f.message.find(bad), f.message.npos) << f.message;
      EXPECT_EQ(f.message.find('\n'), f.message.npos) << f.message;
    } else {
      expect_same_packs(*whole, *open({bad}, Format::packed));
    }
  }
  EXPECT_GT(noticed, kFlips / 3);
  for (const size_t keep : {size_t(0), size_t(7), size_t(48), bytes.size() / 2, bytes.size() - 1}) {
    folder_.write("bad.h5", bytes.substr(0, keep));
    EXPECT_EQ(failure(bad).code, 3) << keep;
  }
  folder_.write("bad.h5", bytes + "x");
  EXPECT_EQ(failure(bad).code, 3);
}

// HDF5 serves one thread at a time, and opens nothing for writing that it holds for reading.
TEST_F(PackedTest, TheLibraryIsDoneWithAFileThatIsOpen) {
  pack({folder_.write("x.jsonl", records(20, 13))}, out_);
  const auto source = open({out_}, Format::packed), other = open({out_}, Format::packed);
  EXPECT_NO_THROW(Hdf5File::open(out_, true).close());
  expect_same_packs(*source, *other);
}

TEST_F(PackedTest, AFileThatIsCutOffMeanwhileIsSaid) {
  pack({folder_.write("x.jsonl", records(20, 14))}, out_);
  const auto source = open({out_}, Format::packed);
  std::filesystem::resize_file(out_, 100);
  const Failure f = failure_of([&] { source->pack(0); });
  EXPECT_EQ(f.code, 3);
  EXPECT_NE(f.message.find("(" + out_ + "): it was cut off; copy it again"), f.message.npos)
      << f.message;
}

// A file whose checksums hold but whose content cannot be.
TEST_F(PackedTest, ContradictionsAreRefused) {
  const PackedHeader header = {.vocabulary = vocabulary_fingerprint(*tokenizer_),
                               .vocab_size = 10,
                               .eos = kEos,
                               .max_tokens = 8,
                               .records = 3};
  const Document good = {.ids = {2, 3, 4, 1}, .user_length = 2, .answer_length = 1, .sample_id = 1};
  const auto write = [&](const std::function<void(Document&, PackedHeader&)>& change) {
    return failure_of([&] {
      Document d = good;
      PackedHeader h = header;
      change(d, h);
      PackedWriter writer(out_, {1, 2, good.length() + d.length()});
      writer.add({good, d});
      writer.publish(h, {"a kind"});
    });
  };
  EXPECT_EQ(write([](Document&, PackedHeader&) {}).code, 0);
  EXPECT_EQ(failure(out_).code, 0);
  const std::string before = bytes_of(out_);
  const struct {
    std::function<void(Document&, PackedHeader&)> change;
    std::string message;
  } table[] = {
      {[](Document& d, PackedHeader&) { d.ids[1] = 10; },
       "pack 0 has token id 10 of a vocabulary of 10"},
      {[](Document& d, PackedHeader&) { d.ids[1] = -1; }, "pack 0 has token id -1"},
      {[](Document& d, PackedHeader&) { d.user_length = 5; }, "/user_lengths"},
      {[](Document& d, PackedHeader&) { d.user_length = -1; }, "/user_lengths"},
      {[](Document& d, PackedHeader&) { d.answer_offset = 3; }, "/answer_offsets"},
      {[](Document& d, PackedHeader&) { d.answer_length = 3; }, "/answer_lengths"},
      {[](Document& d, PackedHeader&) { d.task_id = 5; }, "/task_ids"},
      {[](Document& d, PackedHeader&) { d.kind_id = 1; }, "/kind_ids"},
      {[](Document& d, PackedHeader&) { d.sample_id = 3; }, "/sample_ids"},
      {[](Document& d, PackedHeader&) { d.ids.push_back(1); }, "more than max_tokens = 8"},
      {[](Document& d, PackedHeader&) { d.ids.resize(9, 1); }, "/document_offsets"},
      {[](Document& d, PackedHeader&) { d.ids.clear(); }, "/document_offsets"},
      {[](Document&, PackedHeader& h) { h.eos = 10; }, "attributes"},
      {[](Document&, PackedHeader& h) { h.vocab_size = 0; }, "attributes"},
      {[](Document&, PackedHeader& h) { h.records = -1; }, "attributes"},
  };
  for (const auto& row : table) {
    const Failure f = write(row.change);
    EXPECT_EQ(f.code, 3) << row.message;
    EXPECT_NE(f.message.find(row.message), f.message.npos) << row.message << ": " << f.message;
  }
  EXPECT_TRUE(bytes_of(out_) == before);
}

}  // namespace
}  // namespace elastron::data
