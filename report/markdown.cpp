#include "report/markdown.h"

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"
#include "report/markup.h"

namespace elastron::report {

std::string markdown_text(std::string_view text) {
  std::string storage, out;
  for (const char c : replace_invalid_utf8(text, storage)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += ' ';
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      if (std::string_view("\\`*_[]|#~$>").find(c) != std::string_view::npos) out += '\\';
      out += c;
    }
  }
  return out;
}

std::string markdown_of(const Table& table) {
  std::string head = "|", rule = "|", body;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    head += " " + markdown_text(table.columns[c]) + " |";
    rule += is_numeric(table, c) ? " ---: |" : " --- |";
  }
  for (const auto& row : table.rows) {
    ELASTRON_CHECK(row.size() == table.columns.size(), "a row of another length");
    body += "|";
    for (const Cell& cell : row) {
      body += " " + (cell.number ? rounded(*cell.number) : markdown_text(cell.text)) + " |";
    }
    body += "\n";
  }
  return head + "\n" + rule + "\n" + body;
}

std::string markdown_code(std::string_view text) {
  size_t longest = 0, here = 0;
  for (const char c : text) {
    here = c == '`' ? here + 1 : 0;
    longest = std::max(longest, here);
  }
  const std::string fence(std::max<size_t>(3, longest + 1), '`');
  std::string out = fence + "\n" + std::string(text);
  if (!out.ends_with('\n')) out += "\n";
  return out + fence + "\n";
}

}  // namespace elastron::report
