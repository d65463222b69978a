#include "report/page.h"

#include <fmt/format.h>

#include "core/error.h"
#include "report/markup.h"
#include "report/page_texts.h"
#include "report/plot/paint.h"

namespace elastron::report {

namespace {

// Nothing is loaded from anywhere, whatever a text of a file may say.
constexpr std::string_view kPolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

}  // namespace

void Page::heading(int level, std::string_view text) {
  ELASTRON_CHECK(level >= 2 && level <= 4 && level <= level_ + 1, "headings in order");
  level_ = level;
  under_ = text;
  const std::string id = fmt::format("h{}", ++headings_);
  body_ += fmt::format("<h{0} id=\"{1}\">{2}</h{0}>\n", level, id, escaped(text));
  if (level == 2) contents_ += fmt::format("<li><a href=\"#{}\">{}</a></li>", id, escaped(text));
}

void Page::paragraph(std::string_view text) { body_ += "<p>" + escaped(text) + "</p>\n"; }

void Page::facts(const Facts& facts) {
  body_ += "<dl>";
  for (const auto& [name, value] : facts) {
    body_ += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(name), escaped(value));
  }
  body_ += "</dl>\n";
}

void Page::table(const Table& table, std::string_view caption) {
  const std::string name = fmt::format("{} {}", under_, caption);
  body_ += html_of(table, caption) + "<p class=\"under\">" + csv_link(table, name) + "</p>\n";
}

void Page::figures(const std::vector<Figure>& figures) {
  if (figures.empty()) return;
  body_ += "<div class=\"figures\">\n";
  for (const Figure& f : figures) {
    body_ += fmt::format("<figure><figcaption><strong>{}</strong> {}</figcaption>\n{}",
                         escaped(f.title), escaped(f.note), f.svg);
    body_ += csv_link(f.numbers, f.title) + "\n";
    body_ += fmt::format("<details><summary>Numbers<span class=\"sr\"> of {}</span></summary>",
                         escaped(f.title));
    if (!f.numbers_note.empty()) body_ += "<p class=\"under\">" + escaped(f.numbers_note) + "</p>";
    body_ += html_of(f.numbers, f.title, Digits::all) + "</details></figure>\n";
  }
  body_ += "</div>\n";
}

void Page::code(std::string_view text, std::string_view folded) {
  const std::string pre = "<pre tabindex=\"0\"><code>" + escaped(text) + "</code></pre>\n";
  body_ += folded.empty()
               ? pre
               : fmt::format("<details class=\"file\"><summary>{}</summary>{}</details>\n",
                             escaped(folded), pre);
}

std::string Page::html(std::optional<int> refresh_seconds) && {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
      kPolicy);
  if (refresh_seconds) {
    html += fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">\n", *refresh_seconds);
  }
  // An empty icon, as browsers would ask a server for one.
  html += fmt::format(
      "<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>\n{}{}</style>\n</head>\n"
      "<body>\n<header><h1>{}</h1></header>\n",
      escaped(title_), paint_rules(), kStyle, escaped(title_));
  if (!contents_.empty()) html += "<nav aria-label=\"Sections\"><ul>" + contents_ + "</ul></nav>\n";
  return html + "<main>\n" + body_ + "</main>\n<script>\n" + std::string(kScript) +
         "</script>\n</body>\n</html>\n";
}

}  // namespace elastron::report
