// Preference rows of both forms, judged rows and what the published evaluator writes: whatever is
// read keeps what was promised of it.
#include "reward/judged_rows.h"
#include "reward/published_outputs.h"
#include "reward/rows.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace elastron;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const fuzz::InputAsFile file(text);
  fuzz::expect_read_or_refused([&] {
    const auto rows = reward::read_preference_file(file.path(), reward::BadRows::skip);
    int64_t counted = 0;
    for (const auto& [reason, count] : rows.left_out) counted += count;
    fuzz::require(counted == int64_t(rows.bad_rows.size()));
    for (const reward::PreferenceRow& row : rows.rows) {
      fuzz::require(!row.prompt.empty() && !row.rejected.empty());
      fuzz::require(reward::reason_to_leave_out(row).empty() && row.left_out.empty());
    }
    for (const reward::PreferenceRow& row : rows.bad_rows) fuzz::require(!row.left_out.empty());
  });
  fuzz::expect_read_or_refused([&] { reward::read_published_outputs(file.path()); });
  fuzz::expect_read_or_refused([&] {
    const auto row = reward::parse_judged_row(text, "input");
    const std::string line = reward::judged_row_line(row);
    const auto again = reward::parse_judged_row(line.substr(0, line.size() - 1), "again");
    fuzz::require(reward::judged_row_line(again) == line);
  });
  return 0;
}
