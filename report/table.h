// Numbers as a table: of HTML, and as a CSV file that the page holds in a link.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace elastron::report {

// A text, a number, or nothing.
struct Cell {
  Cell() = default;
  Cell(std::string words) : text(std::move(words)) {}   // NOLINT(google-explicit-constructor)
  Cell(const char* words) : text(words) {}              // NOLINT(google-explicit-constructor)
  Cell(double value) : number(value) {}                 // NOLINT(google-explicit-constructor)
  Cell(std::optional<double> value) : number(value) {}  // NOLINT(google-explicit-constructor)

  std::string text;
  std::optional<double> number;  // not finite: shown as missing
};

struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;  // each as long as `columns`
};

// Whether all that stands in a column are numbers: they stand to the right.
bool is_numeric(const Table& table, size_t column);

// RFC 4180, a heading and a line per row; numbers read back exactly, what is missing is empty.
std::string csv_of(const Table& table);

// Numbers are rounded for people unless `digits` is all; sorting takes the exact ones. The page's
// script makes buttons of the headings.
enum class Digits { few, all };
std::string html_of(const Table& table, std::string_view caption, Digits digits = Digits::few);

// A link that saves the table as `name`.csv, without a server and without a script.
std::string csv_link(const Table& table, std::string_view name);

}  // namespace elastron::report
