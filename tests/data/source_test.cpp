#include "data/source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "data/document_reader.h"
#include "data/file_list.h"
#include "data/jsonl.h"
#include "data/synthetic/tasks.h"
#include "tests/data/support.h"

namespace elastron::data {
namespace {

using test::Ids;
using test::kEos;

std::string line(const std::string& context, const std::string& task,
                 const std::string& kind = "") {
  return jsonl_line({.context = context, .answer = "h", .task = task, .kind = kind});
}

class JsonlSourceTest : public ::testing::Test {
 protected:
  std::unique_ptr<PackSource> open(const std::string& content) {
    config_.train = {folder_.write("train.jsonl", content)};
    return open_training_source(config_, *tokenizer_, kEos, folder_.path());
  }
  std::string refusal(const std::string& content) {
    return test::error_of<InputError>([&] { open(content); });
  }

  test::Scratch folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = test::letters();
  DataConfig config_{.max_tokens = 10};
};

TEST_F(JsonlSourceTest, PacksSortedByLength) {
  // Lengths with answer and end: 7, 4, 5, 6.
  const auto source = open(line("a b c d e", "Code") + line("a b", "Single QA", "needle") +
                           line("a b c", "Code") + line("a b c d", "Summarization"));
  ASSERT_EQ(source->packs(), 3);
  std::vector<std::vector<int64_t>> samples;
  for (int64_t p = 0; p < 3; ++p) {
    samples.emplace_back();
    for (const Document& d : source->pack(p)) samples.back().push_back(d.sample_id);
  }
  EXPECT_EQ(samples, (std::vector<std::vector<int64_t>>{{1, 2}, {3}, {0}}));
  const Document first = source->pack(0)[0];
  EXPECT_EQ(first.ids, (Ids{2, 3, 9, kEos}));
  EXPECT_EQ(first.user_length, 2);
  EXPECT_EQ(first.answer_length, 1);
  EXPECT_EQ(first.task_id, 0);
  EXPECT_EQ(source->kinds()[size_t(first.kind_id)], "needle");
  EXPECT_EQ(source->kinds()[size_t(source->pack(2)[0].kind_id)], "Code");
  EXPECT_EQ(source->summary(),
            "4 documents, 22 tokens in 3 packs (73.3 % full), dropped: 0 unknown task, 0 short, "
            "0 overlong");
  EXPECT_THROW(source->pack(3), LogicError);
}

TEST_F(JsonlSourceTest, RefusesUnknownTaskAndOverlong) {
  const std::string good = line("a", "Code");
  std::string message = refusal(good + line("a", "Poetry\n"));
  EXPECT_EQ(message.find("unknown task 'Poetry"), 0u) << message;
  EXPECT_NE(
      message.find(config_.train[0] + ":2, metadata.task): use one of Single QA, MultiHop QA, "
                                      "Summarization, Code, In-Context Learning, or drop"),
      message.npos)
      << message;
  EXPECT_EQ(message.find('\n'), message.npos) << message;
  message = refusal(good + good + line("a b c d e f g h a", "Code"));
  EXPECT_EQ(message,
            "the document has 11 tokens, more than data.max_tokens = 10 (" + config_.train[0] +
                ":3): raise data.max_tokens, or drop such documents (data.overlong: drop)");
  EXPECT_EQ(open(line("a b c d e f g h", "Code"))->packs(), 1);  // 10 tokens fit
}

TEST_F(JsonlSourceTest, DropsWhatItIsToldTo) {
  config_.unknown_task = UnknownTask::drop;
  config_.overlong = Overlong::drop;
  config_.min_tokens = 4;
  const std::string bad = line("a", "Poetry") + line("a b c d e f g h a", "Code") +
                          line("a", "Code");  // the last has 3 tokens
  const auto source = open(bad + line("a b", "Code"));
  ASSERT_EQ(source->packs(), 1);
  EXPECT_EQ(source->pack(0)[0].sample_id, 3);
  EXPECT_NE(source->summary().find("dropped: 1 unknown task, 1 short, 1 overlong"),
            std::string::npos);
  const std::string message = refusal(bad);
  EXPECT_EQ(message,
            "no document is left of 3 records (dropped: 1 unknown task, 1 short, 1 overlong) "
            "(data.train: " +
                config_.train[0] + "): check the files, data.min_tokens and data.max_tokens");
}

TEST_F(JsonlSourceTest, BadRecordsAreSkippedAndCountedWhereAsked) {
  const std::string good = line("a b", "Code");
  const std::string bad = R"({"context": 3, "question": "", "metadata": {"task": "Code"}})";
  const std::string content = good + bad + "\n" + good + "{\n" + bad + "\n" + good;
  EXPECT_NE(refusal(content).find("train.jsonl:2"), std::string::npos) << refusal(content);
  config_.bad_records = BadRecords::skip;
  const std::string path = folder_.write("train.jsonl", content);
  DocumentReader reader(config_, *tokenizer_, kEos, folder_.path());
  std::vector<int64_t> samples;
  const RecordCounts counts =
      reader.read({path}, 2, [&](Document&& d) { samples.push_back(d.sample_id); });
  EXPECT_EQ(samples, (std::vector<int64_t>{0, 2, 5}));  // numbered as the lines are
  EXPECT_EQ(counts.records, 6);
  EXPECT_EQ(counts.dropped_text(), "dropped: 0 unknown task, 0 short, 0 overlong, 3 bad");
  EXPECT_EQ(counts.bad_text(), "skipped 3 bad records: field 'context' is not a string (2, first " +
                                   path + ":2); not acceptable JSON: unexpected end (1, first " +
                                   path + ":4)");
  EXPECT_EQ(RecordCounts().bad_text(), "");
  // Nothing else changes: the packs are those of the good records.
  EXPECT_EQ(open(content)->fingerprint(), open(good + good + good)->fingerprint());
  EXPECT_NE(refusal("{\n").find("no document is left of 1 record (dropped: 0 unknown task, 0 "
                                "short, 0 overlong, 1 bad)"),
            std::string::npos);
}

TEST_F(JsonlSourceTest, ControlTokensInTheTextAreKeptOrTextOrAnError) {
  const std::string content = line("a <eos> b", "Code") + line("a b", "Code");
  const auto ids = [&](ControlTokens setting) {
    config_.control_tokens = setting;
    config_.packing = Packing::none;
    return open(content)->pack(0)[0].ids;
  };
  const Ids kept = {2, kEos, 3, 9, kEos};
  EXPECT_EQ(ids(ControlTokens::automatic), kept);
  EXPECT_EQ(ids(ControlTokens::keep), kept);
  EXPECT_EQ(ids(ControlTokens::text), (Ids{2, 0, 3, 9, kEos}));
  config_.control_tokens = ControlTokens::error;
  EXPECT_NE(refusal(content).find("the text has the control token '<eos>' (" + folder_.path() +
                                  "/train.jsonl:1)"),
            std::string::npos)
      << refusal(content);
  config_.control_tokens = ControlTokens::automatic;
  DocumentReader reader(config_, *tokenizer_, kEos, folder_.path());
  const auto counts = reader.read({folder_.path() + "/train.jsonl"}, 1, [](Document&&) {});
  EXPECT_EQ(counts.controls.tokens, 1);
  EXPECT_EQ(counts.controls.records, 1);
  EXPECT_EQ(reader.control_tokens(), ControlTokens::keep);
}

TEST_F(JsonlSourceTest, FoldersAndPatternsStandForTheirFilesInOrder) {
  const std::string b = folder_.write("b.jsonl", line("b b", "Code"));
  const std::string a10 = folder_.write("a10.jsonl", line("a", "Code"));
  const std::string a9 = folder_.write("a9.jsonl", line("a a a", "Code"));
  const std::string odd = folder_.write("[1].jsonl", line("c c c c", "Code"));
  folder_.write(".hidden.jsonl", "x");
  folder_.write("notes.txt", "x");
  std::filesystem::create_directory(folder_.path() + "/empty.jsonl");
  const std::string here = folder_.path();
  const auto files = [&](const std::vector<std::string>& names) {
    return data_files(names, ".jsonl", "data.train");
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(files({here}), (Names{here + "/[1].jsonl", here + "/a10.jsonl", here + "/a9.jsonl",
                                  here + "/b.jsonl"}));
  EXPECT_EQ(files({b, here + "/a*.jsonl"}), (Names{b, a10, a9}));
  EXPECT_EQ(files({here + "/a?.jsonl", here + "/[bc].jsonl"}), (Names{a9, b}));
  EXPECT_EQ(files({odd}), Names{odd});  // a file's own name is no pattern
  EXPECT_EQ(files({here + "/none.jsonl"}), Names{here + "/none.jsonl"});  // said when it is opened
  for (const auto& [name, what] :
       {std::pair{here + "/x*.jsonl", "no file matches (data.train: "},
        std::pair{here + "/empty.jsonl", "the folder has no .jsonl files (data.train: "}}) {
    const std::string error = test::error_of<InputError>([&] { files({name}); });
    EXPECT_TRUE(error.starts_with(what + name + "): ")) << error;
  }
  // The same files, however they are named, are the same data.
  config_.train = {here};
  const auto all = open_training_source(config_, *tokenizer_, kEos, here);
  config_.train = {odd, a10, a9, b};
  EXPECT_EQ(all->fingerprint(),
            open_training_source(config_, *tokenizer_, kEos, here)->fingerprint());
  EXPECT_EQ(all->packs(), 3);
}

TEST_F(JsonlSourceTest, FingerprintNamesContentAndPacking) {
  const std::string text = line("a b", "Code") + line("a b c d e f", "Code") + line("c", "Code");
  std::set<std::string> prints = {open(text)->fingerprint()};
  EXPECT_FALSE(prints.insert(open(text)->fingerprint()).second);
  const std::string others[] = {
      line("b a", "Code") + line("a b c d e f", "Code") + line("c", "Code"),
      line("a b", "Single QA") + line("a b c d e f", "Code") + line("c", "Code"),
      line("a b", "Code") + line("a b c d e f", "Code"),
  };
  for (const std::string& other : others) {
    EXPECT_TRUE(prints.insert(open(other)->fingerprint()).second) << other;
  }
  config_.packing = Packing::none;
  EXPECT_TRUE(prints.insert(open(text)->fingerprint()).second);
}

TEST_F(JsonlSourceTest, EvaluationHasOneDocumentPerPackInFileOrder) {
  const std::string text = line("a b c", "Code") + line("a", "Code") + line("a b", "Code");
  config_.eval = {folder_.write("one.jsonl", text), folder_.write("two.jsonl", line("d", "Code"))};
  const auto source = open_evaluation_source(config_, *tokenizer_, kEos, folder_.path());
  ASSERT_EQ(source->packs(), 4);
  for (int64_t p = 0; p < 4; ++p) {
    ASSERT_EQ(source->pack(p).size(), 1u);
    EXPECT_EQ(source->pack(p)[0].sample_id, p);
  }
}

TEST_F(JsonlSourceTest, NeedsFiles) {
  const DataConfig empty;
  EXPECT_NE(test::error_of<UsageError>([&] {
              open_training_source(empty, *tokenizer_, kEos, folder_.path());
            }).find("(data.train)"),
            std::string::npos);
  EXPECT_NE(test::error_of<UsageError>([&] {
              open_evaluation_source(empty, *tokenizer_, kEos, folder_.path());
            }).find("(data.eval)"),
            std::string::npos);
}

class SyntheticSourceTest : public ::testing::Test {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = parse_tokenizer(synthetic_tokenizer_json(), "synthetic");
  int32_t eos_ = *tokenizer_->id("<eos>");
  DataConfig config_{.format = Format::synthetic,
                     .max_tokens = 1000,
                     .synthetic = {.lengths = {128, 200}, .clearance = 32, .eval_per_kind = 3}};

  std::unique_ptr<PackSource> training() {
    return open_training_source(config_, *tokenizer_, eos_, "");
  }
};

TEST_F(SyntheticSourceTest, APackIsAFunctionOfItsIndex) {
  const auto one = training(), two = training();
  EXPECT_EQ(one->packs(), PackSource::kUnlimited);
  std::set<Ids> different;
  size_t noisy = 0;
  std::set<int32_t> kinds;
  for (int64_t p : {0, 1, 2, 3, 4, 5, 6, 7}) {
    const auto pack = one->pack(p);
    two->pack(p + 3);  // what was asked before does not matter
    const auto again = two->pack(p);
    ASSERT_EQ(pack.size(), again.size());
    int64_t tokens = 0;
    for (size_t d = 0; d < pack.size(); ++d) {
      EXPECT_EQ(pack[d].ids, again[d].ids);
      EXPECT_EQ(pack[d].sample_id, again[d].sample_id);
      // A cycle of words has few beginnings; documents with noise are all different.
      if (synthetic_kind_is_sensitive(SyntheticKind(pack[d].kind_id))) {
        different.insert(pack[d].ids);
        ++noisy;
      }
      kinds.insert(pack[d].kind_id);
      tokens += pack[d].length();
      EXPECT_EQ(std::ranges::count(pack[d].ids, *tokenizer_->id("<unk>")), 0);
    }
    EXPECT_LE(tokens, 1000);
    EXPECT_GT(tokens, 1000 - 202);  // no room for the longest document
  }
  EXPECT_EQ(different.size(), noisy);
  EXPECT_GT(noisy, 10u);
  EXPECT_EQ(kinds.size(), 6u);
}

TEST_F(SyntheticSourceTest, MixAndPackingAreObeyed) {
  config_.synthetic.kinds = {{"needle", 3.0}, {"gist", 1.0}};
  int64_t needles = 0, all = 0;
  const auto source = training();
  for (int64_t p = 0; p < 200; ++p) {
    for (const Document& d : source->pack(p)) {
      const std::string& kind = source->kinds()[size_t(d.kind_id)];
      ASSERT_TRUE(kind == "needle" || kind == "gist");
      needles += kind == "needle";
      ++all;
    }
  }
  // Four standard deviations of a binomial share of 3/4.
  EXPECT_NEAR(double(needles) / double(all), 0.75, 4 * std::sqrt(0.75 * 0.25 / double(all)));
  config_.packing = Packing::none;
  EXPECT_EQ(training()->pack(5).size(), 1u);
}

TEST_F(SyntheticSourceTest, FingerprintFollowsTheSettings) {
  std::set<std::string> prints = {training()->fingerprint()};
  EXPECT_FALSE(prints.insert(training()->fingerprint()).second);
  const DataConfig base = config_;
  const auto changed = [&](auto&& change) {
    config_ = base;
    change(config_);
    return prints.insert(training()->fingerprint()).second;
  };
  EXPECT_TRUE(changed([](DataConfig& c) { c.synthetic.seed = 2; }));
  EXPECT_TRUE(changed([](DataConfig& c) { c.synthetic.lengths = {128}; }));
  EXPECT_TRUE(changed([](DataConfig& c) { c.synthetic.clearance = 33; }));
  EXPECT_TRUE(changed([](DataConfig& c) { c.synthetic.kinds = {{"gist", 1.0}}; }));
  EXPECT_TRUE(changed([](DataConfig& c) { c.max_tokens = 2000; }));
}

TEST_F(SyntheticSourceTest, EvaluationIsHeldOut) {
  const auto evaluation = open_evaluation_source(config_, *tokenizer_, eos_, "");
  EXPECT_EQ(evaluation->packs(), 6 * 2 * 3);
  std::set<Ids> trained;
  const auto source = training();
  for (int64_t p = 0; p < 100; ++p) {
    for (const Document& d : source->pack(p)) trained.insert(d.ids);
  }
  std::map<std::pair<int32_t, int64_t>, int64_t> counts;
  for (int64_t p = 0; p < evaluation->packs(); ++p) {
    const auto pack = evaluation->pack(p);
    ASSERT_EQ(pack.size(), 1u);
    // Kinds with few different documents (a cycle of words) may meet by chance; the sensitive
    // ones are mostly noise and cannot.
    if (synthetic_kind_is_sensitive(SyntheticKind(pack[0].kind_id))) {
      EXPECT_FALSE(trained.contains(pack[0].ids)) << p;
    }
    ++counts[{pack[0].kind_id, pack[0].length()}];
  }
  EXPECT_EQ(counts.size(), 12u);
  for (const auto& [key, count] : counts) EXPECT_EQ(count, 3);
}

TEST_F(SyntheticSourceTest, RefusesWhatDoesNotFit) {
  const DataConfig base = config_;
  const auto refused = [&](auto&& change) {
    config_ = base;
    change(config_);
    return test::error_of<UsageError>([&] { training(); });
  };
  for (const int64_t length : {int64_t(63), int64_t(1000)}) {
    EXPECT_NE(refused([&](DataConfig& c) {
                c.synthetic.lengths = {128, length};
              }).find("(data.synthetic.lengths): use 64 to data.max_tokens - 1 = 999"),
              std::string::npos);
  }
  EXPECT_NE(refused([](DataConfig& c) { c.synthetic.lengths = {}; }), "");
  EXPECT_NE(refused([](DataConfig& c) {
              c.synthetic.kinds = {{"needel", 1.0}};
            }).find("unknown kind 'needel' (data.synthetic.kinds): use needle"),
            std::string::npos);
  EXPECT_NE(refused([](DataConfig& c) { c.synthetic.kinds = {{"needle", 0.0}}; }), "");
  const auto letters = test::letters();
  EXPECT_NE(test::error_of<InputError>([&] {
              open_training_source(base, *letters, kEos, "");
            }).find("the tokenizer lacks the word"),
            std::string::npos);
}

TEST(DataConfig, DefaultsRoundTripAndContradictions) {
  const DataConfig defaults;
  EXPECT_EQ(defaults.max_tokens, 65536);  // the paper's
  EXPECT_EQ(defaults.packing, Packing::sorted);
  EXPECT_EQ(defaults.label_mode, LabelMode::all);
  const auto config = config::parse_config<DataConfig>(
      "train: [a.jsonl]\nlabel_mode: answer\nprompts: {code_before: \"Complete it.\"}\n"
      "synthetic: {kinds: {needle: 2}}\n",
      "x.yaml");
  EXPECT_EQ(config.label_mode, LabelMode::answer);
  EXPECT_EQ(config.prompts.code_before, "Complete it.");
  EXPECT_EQ(config.synthetic.kinds.at("needle"), 2.0);
  const std::string text = config::dump_config(config);
  EXPECT_EQ(config::dump_config(config::parse_config<DataConfig>(text, "y.yaml")), text);
  const std::string message = test::error_of<UsageError>(
      [] { config::parse_config<DataConfig>("max_tokens: 100\nmin_tokens: 101\n", "x.yaml"); });
  EXPECT_NE(message.find("x.yaml:2"), message.npos) << message;
}

}  // namespace
}  // namespace elastron::data
