#include "report/reproduction/findings.h"
#include "report/sections/sections.h"

namespace elastron::report {

void add_reproduction(Page& page, const Reproduction& all, const Findings& findings) {
  page.heading(2, "Reproduction: " + all.name);
  // Markdown is for other machines, where this is not.
  Facts facts = findings.facts;
  facts.emplace_back("Folder", all.path);
  page.facts(facts);
  page.paragraph(findings.summary);
  if (!findings.claims.empty()) {
    page.heading(3, "Claims");
    page.paragraph(kClaimsRule);
    page.table(claims_table(findings.claims), "What the paper claims");
  }
  for (const Part& part : findings.parts) {
    page.heading(3, part.title);
    page.paragraph(part.text);
    std::vector<Figure> figures;
    for (const NamedFigure& figure : part.figures) figures.push_back(figure.figure);
    page.figures(figures);
    for (const auto& [caption, table] : part.tables) page.table(table, caption);
  }
  page.heading(3, "Every job");
  page.table(jobs_table(all), "Jobs that are done");
  if (all.command.empty()) return;
  page.heading(3, "How to run it again");
  page.code(all.command);
}

}  // namespace elastron::report
