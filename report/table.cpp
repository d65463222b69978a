#include "report/table.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "report/markup.h"

namespace elastron::report {

namespace {

std::string csv_field(const Cell& cell) {
  if (cell.number) return exact(*cell.number);
  if (cell.text.find_first_of(",\"\r\n") == std::string::npos) return cell.text;
  std::string quoted = "\"";
  for (const char c : cell.text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

// Longer texts may take several lines.
constexpr size_t kOneLine = 40;

std::string td(const Cell& cell, bool numeric, Digits digits) {
  const char* of_number = numeric ? " class=\"n\"" : "";
  if (!cell.number) {
    const bool sentence = cell.text.size() > kOneLine;
    return fmt::format("<td{}>{}</td>", sentence ? " class=\"t\"" : of_number,
                       cell.text.empty() && numeric ? "–" : escaped(cell.text));
  }
  const std::string all = exact(*cell.number);
  const std::string shown = digits == Digits::all && !all.empty() ? all : rounded(*cell.number);
  const std::string value = shown == all ? "" : fmt::format(" data-v=\"{}\"", all);
  return fmt::format("<td{}{}>{}</td>", of_number, value, shown);
}

}  // namespace

bool is_numeric(const Table& table, size_t column) {
  bool any = false;
  for (const auto& row : table.rows) {
    if (!row[column].number && !row[column].text.empty()) return false;
    any = any || row[column].number;
  }
  return any;
}

std::string csv_of(const Table& table) {
  std::string csv;
  const auto line = [&](const auto& cells) {
    bool first = true;
    for (const auto& cell : cells) {
      csv += (first ? "" : ",") + csv_field(cell);
      first = false;
    }
    csv += "\r\n";
  };
  line(table.columns);
  for (const auto& row : table.rows) line(row);
  return csv;
}

std::string html_of(const Table& table, std::string_view caption, Digits digits) {
  std::vector<bool> numeric;
  std::string html = fmt::format(
      "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">"
      "<table><caption>{0}</caption><thead><tr>",
      escaped(caption));
  for (size_t c = 0; c < table.columns.size(); ++c) {
    numeric.push_back(is_numeric(table, c));
    html += fmt::format("<th scope=\"col\"{}>{}</th>", numeric[c] ? " class=\"n\"" : "",
                        escaped(table.columns[c]));
  }
  html += "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    ELASTRON_CHECK(row.size() == table.columns.size(), "a row of another length");
    html += "<tr>";
    for (size_t c = 0; c < row.size(); ++c) html += td(row[c], numeric[c], digits);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string csv_link(const Table& table, std::string_view name) {
  std::string file(name);
  for (char& c : file) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_';
    if (!plain) c = '-';
  }
  return fmt::format(
      "<a class=\"csv\" download=\"{0}.csv\" href=\"data:text/csv;charset=utf-8,{1}\">"
      "CSV<span class=\"sr\"> of {2}</span></a>",
      file, percent_encoded(csv_of(table)), escaped(name));
}

}  // namespace elastron::report
