#include "data/jsonl.h"

#include <gtest/gtest.h>

#include "data/python_literal.h"
#include "tests/data/support.h"

namespace elastron::data {
namespace {

std::vector<Record> read_all(const std::string& path, std::vector<std::string>* places = nullptr) {
  std::vector<Record> records;
  JsonlReader reader(path);
  for (JsonlLine line; reader.next(line);) {
    records.push_back(parse_jsonl(line, path));
    if (places != nullptr) places->push_back(place_of(line, path));
  }
  return records;
}

bool same(const Record& a, const Record& b) {
  return a.context == b.context && a.question == b.question && a.answer == b.answer &&
         a.task == b.task && a.kind == b.kind && a.is_prefix == b.is_prefix;
}

const std::string kGood =
    R"({"context": "c", "question": "q", "answer": "a", "metadata": {"task": "Code"}})";

TEST(Jsonl, RoundTrip) {
  const std::vector<Record> records = {
      {"some \"context\"\nwith lines\t\\", "question?", "answer", "Code", "", true},
      {"\u00fc\u4e2d\U0001f600", "", "", "Single QA", "needle", false},
      {"", "", "", "", "", true},
  };
  std::string text;
  for (const Record& r : records) text += jsonl_line(r);
  const test::Scratch folder;
  const auto back = read_all(folder.write("x.jsonl", text));
  ASSERT_EQ(back.size(), records.size());
  for (size_t i = 0; i < records.size(); ++i) EXPECT_TRUE(same(back[i], records[i])) << i;
  EXPECT_NE(test::error_of<InputError>([] { jsonl_line({.context = "\xff"}); }), "");
}

TEST(Jsonl, AcceptsWhatFilesHold) {
  const test::Scratch folder;
  const std::string bom = "\xEF\xBB\xBF";
  const std::string text =
      bom + kGood + "\r\n\n  \n" + R"({"context": "c)" + bom +
      R"(", "question": "q", "answer": "a", "length": 7, "metadata": )" +
      R"("{'task': 'MultiHop QA', 'is_prefix': False, 'length': 12.5}"})" + "\n" +
      R"({"context": "", "question": "", "answer": "", "metadata": "{\"task\": \"Code\"}"})";
  std::vector<std::string> places;
  const std::string path = folder.write("x.jsonl", text);
  const auto records = read_all(path, &places);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(places, (std::vector{path + ":1", path + ":4", path + ":5"}));
  EXPECT_TRUE(records[0].is_prefix);
  EXPECT_TRUE(same(records[1], {"c", "q", "a", "MultiHop QA", "", false}));
  EXPECT_EQ(records[2].task, "Code");
}

// Each bad line stands second in its file.
TEST(Jsonl, RefusesWithFileLineAndField) {
  const auto without = [](const std::string& from, const std::string& to) {
    std::string text = kGood;
    return text.replace(text.find(from), from.size(), to);
  };
  const struct {
    std::string line, message;
  } table[] = {
      {without("\"context\": \"c\", ", ""), "field 'context' is missing (FILE:2)"},
      {without("\"question\": \"q\", ", ""), "field 'question' is missing (FILE:2)"},
      {without("\"answer\": \"a\"", "\"answer\": null"), "field 'answer' is not a string (FILE:2)"},
      {without("\"answer\": \"a\"", "\"answer\": [\"a\"]"),
       "field 'answer' is not a string (FILE:2)"},
      {without(", \"metadata\": {\"task\": \"Code\"}", ""), "field 'metadata' is missing (FILE:2)"},
      {without("{\"task\": \"Code\"}", "3"), "field 'metadata' is not an object (FILE:2)"},
      {without("{\"task\": \"Code\"}", "\"[1]\""), "field 'metadata' is not an object (FILE:2)"},
      {without("{\"task\": \"Code\"}", "{}"), "field 'metadata.task' is missing (FILE:2)"},
      {without("\"task\": \"Code\"", "\"task\": 3"),
       "field 'metadata.task' is not a string (FILE:2)"},
      {without("\"Code\"", "\"Code\", \"is_prefix\": 1"),
       "field 'metadata.is_prefix' is not true or false (FILE:2)"},
      {without("{\"task\": \"Code\"}", "\"{'task': open('x')}\""),
       "not a Python literal: a value that is not known (FILE:2, metadata, byte 10)"},
      {without("{\"task\": \"Code\"}", "\"{\\\"task\\\": }\""),
       "(FILE:2, metadata, line 1 byte 10)"},
      {"[]", "the line is not a JSON object (FILE:2)"},
      {"{\"context\": }", "(FILE:2, line 1 byte 13)"},
      {without("\"q\"", "\"\xC3(\""), "text that is not UTF-8 (FILE:2, byte 31): convert"},
      {without("\"question\"", "\"context\""), "duplicate key \"context\" (FILE:2, line 1 byte "},
      {kGood + kGood, "(FILE:2, line 1 byte "},
      {std::string(100, '[') + std::string(100, ']'), "(FILE:2, line 1 byte 17)"},
      {without("\"task\"", "\"score\": NaN, \"task\""),
       "not acceptable JSON: NaN is no number of JSON (FILE:2, line 1 byte 72): write null"},
      {without("\"task\"", "\"score\": [Infinity], \"task\""),
       "Infinity is no number of JSON (FILE:2, line 1 byte 73): write null"},
      {without("\"task\"", "\"score\": -Infinity, \"task\""),
       "not acceptable JSON: -Infinity is no number of JSON (FILE:2, line 1 byte 72): write null"},
      {without("\"q\"", "\"a \\ud83d x\""),
       "not acceptable JSON: an escape of half a surrogate pair, which is no character (FILE:2, "
       "line "
       "1 byte "},
  };
  const test::Scratch folder;
  for (const auto& row : table) {
    const std::string path = folder.write("x.jsonl", kGood + "\n" + row.line + "\n");
    std::string expected = row.message;
    expected.replace(expected.find("FILE"), 4, path);
    const std::string message = test::error_of<InputError>([&] { read_all(path); });
    EXPECT_NE(message.find(expected), message.npos) << expected << "\n  got: " << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
  }
}

TEST(Jsonl, CutOffAnywhereInTheLastLine) {
  using namespace std::string_literals;
  const test::Scratch folder;
  for (size_t keep = 1; keep < kGood.size(); ++keep) {
    const std::string path =
        folder.write("x.jsonl", kGood + "\n" + kGood + "\n" + kGood.substr(0, keep));
    EXPECT_EQ(test::error_of<InputError>([&] { read_all(path); }),
              "the file ends in the middle of a record (" + path +
                  ":3): the file may be cut off: copy or make it again")
        << keep;
  }
  EXPECT_EQ(read_all(folder.write("x.jsonl", kGood + "\n" + kGood)).size(), 2u);
  // Inside a character, a word, a number; behind an escape.
  for (const std::string& cut :
       {"{\"context\": \"\xe4\xb8"s, "{\"context\": \"\xf0"s, R"({"n": tru)"s, R"({"n": -)"s,
        R"({"n": 1.)"s, R"({"n": "\u12)"s}) {
    EXPECT_NE(test::error_of<InputError>([&] {
                read_all(folder.write("x.jsonl", cut));
              }).find("the file ends in the middle of a record"),
              std::string::npos)
        << cut;
  }
  // What is wrong before its end is not the end.
  for (const std::string& bad : {R"({"context": NaN, "n": 1})"s, R"({"context": NaN)"s, "{]"s,
                                 "{\"context\": \"\xff\", \"n\": 1}"s}) {
    const std::string message =
        test::error_of<InputError>([&] { read_all(folder.write("x.jsonl", bad)); });
    EXPECT_NE(message, "");
    EXPECT_EQ(message.find("the file ends"), std::string::npos) << bad << message;
  }
}

TEST(Jsonl, RefusesFilesAndLinesThatCannotBe) {
  const test::Scratch folder;
  const std::string long_line =
      folder.write("x.jsonl", kGood + "\n\"" + std::string((size_t(64) << 20) + 1, 'x') + "\"\n");
  EXPECT_EQ(test::error_of<InputError>([&] { read_all(long_line); }),
            "the line is over 64 MiB (" + long_line + ":2): split the record");
  EXPECT_EQ(read_all(folder.write("x.jsonl", "\xEF\xBB\xBF")).size(), 0u);
  for (const std::string& path :
       {folder.path() + "/none.jsonl", folder.path(), folder.write("empty.jsonl", "")}) {
    const std::string message = test::error_of<Error>([&] { read_all(path); });
    EXPECT_NE(message.find(path), message.npos) << message;
  }
}

TEST(Jsonl, ARecordWithoutAnAnswer) {
  const test::Scratch folder;
  const auto records = read_all(folder.write(
      "x.jsonl", R"({"context": "c", "question": "q", "metadata": {"task": "Code"}})"));
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].answer, "");
}

TEST(Jsonl, SaysWhatAFileIsThatIsNoText) {
  using namespace std::string_literals;
  const test::Scratch folder;
  const std::pair<std::string, std::string> table[] = {
      {"\x1f\x8b\x08\0x"s, "gzip data"},
      {"\x28\xb5\x2f\xfd\x24"s, "Zstandard data"},
      {"\xfd"
       "7zXZ\0"s,
       "xz data"},
      {"BZh91AY"s, "bzip2 data"},
      {"PK\x03\x04\x14"s, "a zip archive"},
      {"PAR1\x15"s, "Parquet"},
      {"ARROW1\0"s, "Arrow data"},
      {"\x89HDF\r\n"s, "HDF5"},
      {"\xff\xfe{\0\"\0"s, "UTF-16 text"},
      {"\xfe\xff\0{"s, "UTF-16 text"},
      {"{\0\"\0"s, "UTF-16 text"},
      {"\xff\xfe\0\0{\0\0\0"s, "UTF-32 text"},
      {"version https://git-lfs.github.com/spec/v1\n"s, "a Git LFS pointer"},
  };
  for (const auto& [bytes, name] : table) {
    const std::string path = folder.write("x.jsonl", bytes);
    const std::string begin = "the file is " + name + ", not JSON lines of UTF-8 (" + path + "): ";
    const std::string message = test::error_of<InputError>([&] { read_all(path); });
    EXPECT_TRUE(message.starts_with(begin)) << message;
    EXPECT_GT(message.size(), begin.size());
  }
}

// Lines that end before, at and after the borders of the blocks a file is read in.
TEST(Jsonl, LinesOfAnyLength) {
  const test::Scratch folder;
  constexpr size_t kBlock = size_t(1) << 20;
  for (const size_t length : {kBlock - 2, kBlock - 1, kBlock, kBlock + 1, 3 * kBlock - 1}) {
    const Record small{"c", "q", "a", "Code", "", true};
    Record large = small;
    const size_t rest = jsonl_line(small).size();
    large.context = std::string(length - rest, 'x');  // the line has length - 1 and a newline
    std::string text = jsonl_line(large) + jsonl_line(small) + jsonl_line(large);
    for (const bool newline : {true, false}) {
      if (!newline) text.pop_back();
      const auto back = read_all(folder.write("x.jsonl", text));
      ASSERT_EQ(back.size(), 3u) << length;
      for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(same(back[i], i == 1 ? small : large)) << length;
    }
  }
}

TEST(Jsonl, AFileThatIsCutOffWhileItIsRead) {
  const test::Scratch folder;
  std::string text;
  while (text.size() < (size_t(3) << 20)) text += kGood + "\n";
  const std::string path = folder.write("x.jsonl", text);
  JsonlReader reader(path);
  JsonlLine line;
  ASSERT_TRUE(reader.next(line));
  std::filesystem::resize_file(path, 1000);
  const std::string message = test::error_of<Error>([&] {
    while (reader.next(line)) {
    }
  });
  EXPECT_EQ(message, "the file ends at byte 1048576 (" + path + "): it was cut off; copy it again");
}

// Whatever the file holds: records of UTF-8 text, or an InputError of one line naming the file.
TEST(Jsonl, SurvivesMutations) {
  const test::Scratch folder;
  const std::string python =
      R"({"context": "c", "question": "q", "answer": "a", "metadata": "{'task': 'Code', 'n': 1.5}"})";
  RandomStream random(12, RandomPurpose::test);
  int refused = 0;
  constexpr int kFiles = 3000;
  for (int i = 0; i < kFiles; ++i) {
    const std::string path =
        folder.write("x.jsonl", test::mutated(kGood + "\n" + python + "\n" + kGood, random));
    try {
      for (const Record& r : read_all(path)) ASSERT_NE(jsonl_line(r), "");
    } catch (const InputError& error) {
      ++refused;
      const std::string message = error.what();
      ASSERT_NE(message.find(path), message.npos) << message;
      ASSERT_EQ(message.find('\n'), message.npos) << message;
    }
  }
  EXPECT_GT(refused, kFiles / 4);
  EXPECT_LT(refused, kFiles);
}

TEST(PythonLiteral, Values) {
  using nlohmann::json;
  const struct {
    std::string text;
    json value;
  } table[] = {
      {"{}", json::object()},
      {" { 'a' : 1 , } ", {{"a", 1}}},
      {"{'task': 'Code', 'is_prefix': True, 'n': None, 'f': False}",
       {{"task", "Code"}, {"is_prefix", true}, {"n", nullptr}, {"f", false}}},
      {"{\"it's\": 'a \"b\"'}", {{"it's", "a \"b\""}}},
      {R"({'e': 'a\'b\\c\nd\x41\u00fc\u4e2d\U0001f600'})",
       {{"e", "a'b\\c\ndA\u00fc\u4e2d\U0001f600"}}},
      {"[1, -2, 1.5, 1e3, (3, 'x'), []]",
       {1, -2, 1.5, 1000.0, json::array({3, "x"}), json::array()}},
  };
  for (const auto& row : table) EXPECT_EQ(parse_python_literal(row.text, "x"), row.value);
}

TEST(PythonLiteral, Refuses) {
  for (const std::string text : {"",       "{",         "{'a'",
                                 "{'a':",  "{'a': 1",   "{'a': 1 'b': 2}",
                                 "{a: 1}", "{1: 2}",    "{'a': 1, 'a': 2}",
                                 "'a",     "'\\",       "'\\x4'",
                                 "'\\q'",  "'\\ud800'", "'\\U00110000'",
                                 "nan",    "inf",       "1e999",
                                 "Truex",  "{} {}",     "[1 2]",
                                 "[,]",    "{,}",       "__import__('os')"}) {
    EXPECT_NE(test::error_of<InputError>([&] { parse_python_literal(text, "x"); }), "") << text;
  }
  EXPECT_NE(test::error_of<InputError>([] {
              parse_python_literal(std::string(1000000, '['), "x");
            }).find("nested too deeply (x, byte 17)"),
            std::string::npos);
}

}  // namespace
}  // namespace elastron::data
