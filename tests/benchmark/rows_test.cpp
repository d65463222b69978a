// The benchmarks' files as their own programs have them: data, prompts, predictions that are gone on
// with, and what is said of bad rows.
#include "benchmark/longbench/rows.h"

#include <gtest/gtest.h>

#include "benchmark/longbench_v2/rows.h"
#include "benchmark/middle_cut.h"
#include "benchmark/python_format.h"
#include "benchmark/ruler/rows.h"
#include "core/error.h"
#include "tests/support/scratch.h"

namespace elastron::benchmark {
namespace {

using test::Scratch;

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The one line that reading ends with.
template <class Read>
std::string error_of(Read read) {
  try {
    read();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

void expect_fragments(const std::string& text, const std::vector<std::string>& fragments) {
  for (const std::string& fragment : fragments) {
    EXPECT_NE(text.find(fragment), text.npos) << "no '" << fragment << "' in: " << text;
  }
  EXPECT_EQ(text.find('\n'), text.npos) << text;
}

const char* const kTrecRow =
    R"({"input": "What?", "context": "Some {text}", "answers": ["number"], "length": 5200, )"
    R"("dataset": "trec", "language": "en", "all_classes": ["number", "person"], "_id": "x"})";
const char* const kQaRow =
    R"({"input": "Who?", "context": "c", "answers": ["Ann", "Anne"], "length": 9, "dataset": "qasper", )"
    R"("language": "en", "all_classes": null, "_id": "y"})";

TEST(PythonFormat, FieldsAndBraces) {
  const std::map<std::string, std::string_view> fields = {{"context", "{input}"}, {"input", "b"}};
  EXPECT_EQ(python_format("{{{context}}} {input}{{}}", fields, "f"), "{{input}} b{}");
  EXPECT_EQ(python_format("", fields, "f"), "");
  for (const char* wrong :
       {"{", "}", "a } b", "{other}", "{}", "{context!r}", "{input:3}", "{context"}) {
    expect_fragments(error_of([&] { python_format(wrong, fields, "file.json, trec"); }),
                     {"prompt template", "file.json, trec"});
  }
}

TEST(LongBenchRows, DataAndPrompts) {
  const Scratch scratch;
  const auto rows =
      read_longbench_data(scratch.write("trec_e.jsonl", std::string(kTrecRow) + "\n" + kQaRow));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].classes, (std::vector<std::string>{"number", "person"}));
  EXPECT_EQ(rows[0].length, 5200);
  EXPECT_FALSE(rows[1].has_classes);
  EXPECT_EQ(longbench_prediction(rows[1], "A\nn\"").dump(),
            R"({"pred":"A\nn\"","answers":["Ann","Anne"],"all_classes":null,"length":9})");

  scratch.write("dataset2prompt.json",
                R"({"trec": "T {{x}} {context} Q {input}", "qasper": "{context}"})");
  scratch.write("dataset2maxlen.json", R"({"trec": 64})");
  const LongBenchPrompts prompts(scratch.path());
  const LongBenchSet& trec = longbench_set("trec", "here");
  EXPECT_EQ(prompts.prompt(trec, rows[0]), "T {x} Some {text} Q What?");
  EXPECT_EQ(prompts.max_new_tokens(trec), 64);
  EXPECT_TRUE(trec.bare_prompt);
  EXPECT_FALSE(longbench_set("qasper", "here").bare_prompt);
  expect_fragments(error_of([&] { prompts.max_new_tokens(longbench_set("qasper", "here")); }),
                   {"'qasper'", "dataset2maxlen.json"});
  scratch.write("dataset2prompt.json", R"({"trec": "only {input}"})");
  expect_fragments(error_of([&] { LongBenchPrompts again(scratch.path()); }),
                   {"'trec' has no {context}", "dataset2prompt.json"});
}

TEST(LongBenchRows, BadRowsAreNamed) {
  const Scratch scratch;
  const auto refused = [&](const std::string& second) {
    const auto path = scratch.write("qasper.jsonl", std::string(kQaRow) + "\n" + second + "\n");
    return error_of([&] { read_longbench_data(path); });
  };
  expect_fragments(refused("{}"), {"field 'input' is missing", "qasper.jsonl:2"});
  expect_fragments(refused(R"({"input": 3})"), {"field 'input' is not a string", "qasper.jsonl:2"});
  expect_fragments(refused(R"({"input": "", "context": "", "answers": "Ann"})"),
                   {"field 'answers' is not a list", "qasper.jsonl:2"});
  expect_fragments(refused(R"({"input": "", "context": "", "answers": [1]})"),
                   {"field 'answers' has an item that is not a string", "qasper.jsonl:2"});
  expect_fragments(refused("[1"), {"qasper.jsonl:2"});
  expect_fragments(refused("\"\xff\""), {"not UTF-8", "qasper.jsonl:2"});
}

TEST(LongBenchRows, UnknownSetsAndThoseOfJieba) {
  expect_fragments(error_of([] { longbench_set("qaspar", "f"); }), {"'qaspar' is no set"});
  for (const char* name : {"multifieldqa_zh", "dureader", "vcsum"}) {
    expect_fragments(error_of([&] { longbench_set(name, "f"); }), {name, "jieba"});
  }
  EXPECT_EQ(longbench_sets().size(), 21u);
}

TEST(Predictions, AStoppedRunGoesOn) {
  const Scratch scratch;
  const auto data =
      read_longbench_data(scratch.write("qasper.jsonl", std::string(kQaRow) + "\n" + kTrecRow));
  const std::string path = scratch / "pred/model/qasper.jsonl";
  {
    PredictionFile file(path);
    EXPECT_EQ(longbench_rows_done(file, data), 0);
    for (const auto& row : data) file.append(longbench_prediction(row, "caf\u00e9"));
    EXPECT_EQ(file.count(), 2);
  }
  const std::string whole = text_of(path);
  EXPECT_NE(whole.find("caf\u00e9"), whole.npos);
  // Stopped anywhere within the second row: the same bytes in the end.
  for (size_t bytes = whole.find('\n') + 1; bytes < whole.size(); ++bytes) {
    scratch.write("pred/model/qasper.jsonl", whole.substr(0, bytes));
    PredictionFile file(path);
    ASSERT_EQ(longbench_rows_done(file, data), 1) << bytes;
    file.append(longbench_prediction(data[1], "caf\u00e9"));
    ASSERT_EQ(text_of(path), whole) << bytes;
  }
  const PredictionFile file(path);
  expect_fragments(error_of([&] {
                     longbench_rows_done(file, {data[1], data[0]});
                   }),
                   {"another row", "qasper.jsonl:1"});
  expect_fragments(error_of([&] { longbench_rows_done(file, {data[0]}); }),
                   {"more rows", "qasper.jsonl:2"});
}

TEST(RulerRows, DataAndPredictions) {
  const Scratch scratch;
  const std::string first = R"({"index": 4, "input": "in", "outputs": ["1", "2"], "length": 77, )"
                            R"("answer_prefix": " The", "others": {"id": 9, "a": 1}})";
  const auto path = scratch.write("vt/validation.jsonl",
                                  first + "\n" + R"({"index": 5, "input": "", "outputs": ["x"]})");
  const auto rows = read_ruler_data(path);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].answer_prefix, " The");
  EXPECT_EQ(ruler_prediction(rows[0], "p").dump(),
            R"({"index":4,"pred":"p","input":"in The","outputs":["1","2"],"others":{"a":1,"id":9},)"
            R"("truncation":-1,"length":77})");
  EXPECT_EQ(rows[1].length, -1);
  const std::string predictions = scratch / "vt.jsonl";
  {
    PredictionFile file(predictions);
    file.append(ruler_prediction(rows[1], ""));
  }
  const PredictionFile there(predictions);
  EXPECT_EQ(ruler_rows_done(there, rows), (std::set<int64_t>{5}));
  expect_fragments(error_of([&] { ruler_rows_done(there, {rows[0]}); }),
                   {"index 5 is none of the data's", "vt.jsonl:1"});
  EXPECT_EQ(read_ruler_predictions(predictions)[0].id, "5");
  EXPECT_EQ(read_ruler_data(scratch.write("again.jsonl", ruler_data_row(rows[0]).dump()))[0].others,
            rows[0].others);

  const auto refused = [&](const std::string& row) {
    return error_of([&] { read_ruler_data(scratch.write("bad.jsonl", first + "\n" + row)); });
  };
  expect_fragments(refused(first), {"index 4 is there twice", "bad.jsonl:2"});
  expect_fragments(refused(R"({"index": 1, "input": "", "outputs": []})"),
                   {"field 'outputs' is an empty list", "bad.jsonl:2"});
  expect_fragments(refused(R"({"index": 1, "input": "", "outputs": ["a"], "others": 3})"),
                   {"field 'others' is not an object", "bad.jsonl:2"});
}

LongBenchV2Row v2_row() {
  return {.id = "r1",
          .domain = "d",
          .sub_domain = "s",
          .difficulty = "easy",
          .length = "long",
          .question = " Why $C_A$? ",
          .choices = {" a ", "b", "c", "d"},
          .answer = "B",
          .context = "\n$Q$ text\u3000"};
}

TEST(LongBenchV2Rows, PromptsReplaceOneAfterTheOther) {
  EXPECT_EQ(longbench_v2_prompt("$DOC$|$Q$|$C_A$$C_B$$C_C$$C_D$|$COT$", v2_row()),
            "Why a? text|Why a?|abcd|$COT$");
  EXPECT_EQ(longbench_v2_prompt("$COT$ $Q$", v2_row(), " so \n"), "so Why a?");
}

TEST(LongBenchV2Rows, Answers) {
  EXPECT_EQ(longbench_v2_answer("The correct answer is (C)"), "C");
  EXPECT_EQ(longbench_v2_answer("**The correct answer is (D)** as ... The correct answer is (A)"),
            "D");
  EXPECT_EQ(longbench_v2_answer("The correct answer is B. The correct answer is (A)"), "A");
  EXPECT_EQ(longbench_v2_answer("The correct answer is (E). The correct answer is *B*ut"), "B");
  EXPECT_EQ(longbench_v2_answer("The correct answer is Delta"), "D");
  EXPECT_EQ(longbench_v2_answer("the correct answer is A"), std::nullopt);
  EXPECT_EQ(longbench_v2_answer(""), std::nullopt);
}

TEST(LongBenchV2Rows, DataPredictionsAndWhatIsDone) {
  const Scratch scratch;
  LongBenchV2Row row = v2_row();
  row.context = std::string(999, 'x') + "\u00e9\u00e9";
  auto written = longbench_v2_prediction(row, " The correct answer is (B) ");
  EXPECT_EQ(written["context"], std::string(999, 'x') + "\u00e9");
  EXPECT_EQ(written["judge"], true);
  EXPECT_EQ(written["response"], "The correct answer is (B)");
  EXPECT_EQ(longbench_v2_prediction(row, "?")["pred"], nullptr);

  // A list and lines of the same rows.
  const auto list = scratch.write("data.json", " [" + written.dump() + "]");
  const auto lines = scratch.write("data.jsonl", written.dump() + "\n");
  EXPECT_EQ(read_longbench_v2_data(list)[0].choices, row.choices);
  EXPECT_EQ(read_longbench_v2_data(lines)[0].context.size(), 1001u);
  const PredictionFile file(lines);
  EXPECT_EQ(longbench_v2_rows_done(file, {row}), (std::set<std::string>{"r1"}));

  const auto refused = [&](const std::string& field, const nlohmann::json& value) {
    auto bad = written;
    bad[field] = value;
    scratch.write("bad.json", "[" + written.dump() + "," + bad.dump() + "]");
    return error_of([&] { read_longbench_v2_data(scratch / "bad.json"); });
  };
  expect_fragments(refused("difficulty", "hard"), {"'r1' is there twice", "bad.json, row 2"});
  expect_fragments(refused("difficulty", "medium"),
                   {"'difficulty' is 'medium'", "bad.json, row 2"});
  expect_fragments(refused("answer", "E"), {"'answer' is 'E'", "row 2"});
  expect_fragments(refused("context", nullptr), {"'context' is missing", "row 2"});
  scratch.write("prompt.txt", "$DOC$");
  expect_fragments(error_of([&] { read_longbench_v2_prompt(scratch / "prompt.txt"); }),
                   {"no $Q$", "prompt.txt"});
}

// A word is a token; decoding puts blanks between them.
std::unique_ptr<data::Tokenizer> words() {
  nlohmann::json vocabulary = {{"<eos>", 0}, {"<unk>", 1}};
  for (const char* word : {"one", "two", "three", "four", "five", "six", "seven"}) {
    vocabulary[word] = vocabulary.size();
  }
  const nlohmann::json end = {{"id", 0},         {"content", "<eos>"}, {"single_word", false},
                              {"lstrip", false}, {"rstrip", false},    {"normalized", false},
                              {"special", true}};
  const nlohmann::json tokenizer = {
      {"version", "1.0"},
      {"added_tokens", {end}},
      {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
      {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  return data::parse_tokenizer(tokenizer.dump(), "words");
}

TEST(MiddleCut, TokensOfTheMiddleGo) {
  const auto tokenizer = words();
  const std::string text = "one two<eos>three four five six seven";
  ASSERT_EQ(tokenizer->encode(text).size(), 8u);
  using enum MiddleCut::Join;
  const auto cut = [&](MiddleCut how) { return cut_middle(*tokenizer, text, how); };
  EXPECT_EQ(cut({.limit = 8}).text, text);
  EXPECT_FALSE(cut({.limit = 8}).truncated);
  // Control tokens are dropped from what is left of a longer prompt. The halves are texts that are
  // joined, or tokens, of which an odd limit leaves one more at the end.
  EXPECT_EQ(cut({.limit = 7}).text, "one twofive six seven");
  EXPECT_TRUE(cut({.limit = 7}).truncated);
  EXPECT_EQ(cut({.limit = 7, .join = tokens}).text, "one two four five six seven");
  EXPECT_EQ(cut({.limit = 4}).text, "one twosix seven");
  // A token that the benchmark's tokenizer puts in front counts for the limit and for the half.
  EXPECT_EQ(cut({.limit = 8, .leading_tokens = 1}).text, "one twofour five six seven");
  EXPECT_EQ(cut({.limit = 2}).text, "oneseven");
}

}  // namespace
}  // namespace elastron::benchmark
