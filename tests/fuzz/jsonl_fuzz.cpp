// JSON lines: a record that is read is written as a line that reads back as the same record.
#include <vector>

#include "data/jsonl.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace elastron;
  std::vector<data::Record> records;
  const auto read = [](std::string_view text, std::vector<data::Record>& out) {
    const fuzz::InputAsFile file(text);
    data::JsonlReader reader(file.path());
    for (data::JsonlLine line; reader.next(line);) {
      out.push_back(data::parse_jsonl(line, file.path()));
    }
  };
  fuzz::expect_read_or_refused([&] {
    read({reinterpret_cast<const char*>(bytes), size}, records);
  });
  if (records.empty()) return 0;
  std::string text;
  for (const data::Record& r : records) text += data::jsonl_line(r);
  std::vector<data::Record> again;
  read(text, again);
  fuzz::require(again.size() == records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    const data::Record &a = records[i], &b = again[i];
    fuzz::require(a.context == b.context && a.question == b.question && a.answer == b.answer &&
                  a.task == b.task && a.kind == b.kind && a.is_prefix == b.is_prefix);
  }
  return 0;
}
