#include "report/reproduction/markdown_page.h"

#include <fmt/format.h>

#include "report/markdown.h"
#include "report/markup.h"
#include "report/plot/reduce.h"
#include "report/plot/standalone.h"

namespace elastron::report {

namespace {

// Rows of a figure's numbers: a curve of every step has more than anyone reads here.
constexpr size_t kMostRows = 40;

std::string numbers_text(const Figure& figure) {
  Table few{.columns = figure.numbers.columns, .rows = {}};
  for (const size_t row : thinned(figure.numbers.rows.size(), kMostRows)) {
    few.rows.push_back(figure.numbers.rows[row]);
  }
  std::string text = "<details><summary>Numbers of this figure</summary>\n\n" + markdown_of(few);
  if (few.rows.size() < figure.numbers.rows.size()) {
    text += fmt::format("\n{} of {} rows, evenly, with the last one.\n", few.rows.size(),
                        figure.numbers.rows.size());
  }
  return text + "\n</details>\n\n";
}

void add_part(Report& report, const Part& part, const std::string& folder) {
  std::string& text = report.text;
  text += "## " + markdown_text(part.title) + "\n\n" + markdown_text(part.text) + "\n\n";
  for (const auto& [caption, table] : part.tables) {
    text += markdown_text(caption) + "\n\n" + markdown_of(table) + "\n";
  }
  for (const NamedFigure& named : part.figures) {
    const std::string file = folder + "/" + named.name + ".svg";
    report.files.emplace_back(file, standalone_svg(named.figure.svg));
    text +=
        fmt::format("![{}]({})\n\n", markdown_text(named.figure.title), percent_encoded_path(file));
    text += fmt::format("**{}**", markdown_text(named.figure.title));
    if (!named.figure.note.empty()) text += ": " + markdown_text(named.figure.note);
    text += "\n\n" + numbers_text(named.figure);
  }
}

}  // namespace

Report markdown_page(const Reproduction& all, const Findings& findings, const std::string& folder) {
  Report report;
  std::string& text = report.text;
  text = "# " + markdown_text("Reproduction: " + all.name) + "\n\n| | |\n| --- | --- |\n";
  for (const auto& [name, value] : findings.facts) {
    text += "| " + markdown_text(name) + " | " + markdown_text(value) + " |\n";
  }
  text += "\n" + markdown_text(findings.summary) + "\n\n";
  if (!findings.claims.empty()) {
    text += std::string("## Claims\n\n") + kClaimsRule + "\n\n" +
            markdown_of(claims_table(findings.claims)) + "\n";
  }
  for (const Part& part : findings.parts) add_part(report, part, folder);
  text += "## Every job\n\n<details><summary>Jobs that are done</summary>\n\n" +
          markdown_of(jobs_table(all)) + "\n</details>\n\n";
  if (!all.command.empty()) {
    text += "## How to run it again\n\n" + markdown_code(all.command);
  }
  return report;
}

}  // namespace elastron::report
