#include "tests/report/markup_fault.h"

#include <algorithm>
#include <vector>

namespace elastron::test {

namespace {

std::string text_fault(std::string_view run) {
  for (size_t at = run.find('&'); at != run.npos; at = run.find('&', at + 1)) {
    const std::string_view entity = run.substr(at, run.find(';', at) - at + 1);
    if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;") {
      return "a bare &";
    }
  }
  if (run.find('>') != run.npos) return "a bare >";
  for (const char c : run) {
    if (c != '\n' && static_cast<unsigned char>(c) < 0x20) return "a control character";
  }
  return "";
}

std::string attribute_fault(std::string_view tag) {
  while (!tag.empty()) {
    const size_t quote = tag.find("=\""), last = tag.find('"', quote + 2);
    if (tag[0] != ' ' || quote == tag.npos || last == tag.npos) return "attributes of a tag";
    if (tag.substr(0, last).find('<') != tag.npos) return "a bare < in an attribute";
    tag.remove_prefix(last + 1);
  }
  return "";
}

// Where a tag ends: a '>' in quotes is none.
size_t end_of_tag(std::string_view text) {
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (text[i] == '>' && !quoted) return i;
  }
  return text.npos;
}

}  // namespace

std::string markup_fault(std::string_view text, std::string_view void_elements) {
  std::vector<std::string> open;
  bool had_root = false;
  while (!text.empty()) {
    if (text[0] != '<') {
      const std::string_view run = text.substr(0, text.find('<'));
      if (open.empty() && run.find_first_not_of('\n') != run.npos) return "text outside the root";
      if (const std::string fault = text_fault(run); !fault.empty()) return fault;
      text.remove_prefix(run.size());
      continue;
    }
    const size_t end = end_of_tag(text);
    if (end == text.npos) return "a tag without an end";
    std::string_view tag = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (tag.starts_with("/")) {
      if (open.empty() || open.back() != tag.substr(1)) return "closes " + std::string(tag);
      open.pop_back();
      continue;
    }
    if (open.empty() && had_root) return "two roots";
    had_root = true;
    const bool closed = tag.ends_with("/");
    if (closed) tag.remove_suffix(1);
    const std::string name(tag.substr(0, tag.find(' ')));
    if (name.empty() || name.find_first_not_of("abcdefghijklmnopqrstuvwxyz123456") != name.npos) {
      return "a tag called " + name;
    }
    if (const std::string fault = attribute_fault(tag.substr(name.size())); !fault.empty()) {
      return fault;
    }
    if (closed || void_elements.find(" " + name + " ") != void_elements.npos) continue;
    open.push_back(name);
    if (name == "style" || name == "script") {
      text.remove_prefix(std::min(text.find("</" + name), text.size()));
    }
  }
  if (!open.empty()) return "open: " + open.back();
  return had_root ? "" : "no root";
}

}  // namespace elastron::test
