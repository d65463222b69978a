// Reads prompts and traces as a reader would, knowing nothing of how they were made: what was said
// where, what the memories should hold, what they do hold.
#pragma once
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace elastron::reward {

using Memory = std::map<std::string, std::string>;  // who -> where

struct Told {
  std::vector<std::vector<std::pair<std::string, std::string>>> sections;  // (who, where), in order
  std::set<std::string> cast;
  std::string asked;

  bool states(const std::string& value) const {
    for (const auto& section : sections) {
      for (const auto& [who, where] : section) {
        if (where == value) return true;
      }
    }
    return false;
  }
  // Where `who` is after the sections [from, to), or "".
  std::string where(const std::string& who, size_t from, size_t to) const {
    std::string at;
    for (size_t s = from; s < to; ++s) {
      for (const auto& [entity, place] : sections[s]) {
        if (entity == who) at = place;
      }
    }
    return at;
  }
  Memory memory(const std::set<std::string>& of, size_t from, size_t to) const {
    Memory all;
    for (const std::string& who : of) {
      if (const std::string at = where(who, from, to); !at.empty()) all[who] = at;
    }
    return all;
  }
  std::vector<Memory> memories(const std::set<std::string>& of, bool mixed) const {
    std::vector<Memory> steps;
    for (size_t s = 0; s < sections.size(); ++s) {
      steps.push_back(memory(of, mixed ? s : 0, s + 1));
    }
    if (mixed) steps.push_back(memory(of, 0, sections.size()));
    return steps;
  }
};

struct Trace {
  std::vector<Memory> steps;
  std::vector<std::string> headings;
  std::vector<int64_t> entries, words;  // of each step; entries as written, twice the same is two
  std::pair<std::string, std::string> answer;
};

inline std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string w; in >> w;) words.push_back(w);
  return words;
}

inline std::string bare(std::string word) {
  while (!word.empty() && std::string(".,:?").find(word.back()) != std::string::npos) {
    word.pop_back();
  }
  return word;
}

inline bool is_numbered(const std::string& word, char stem) {
  return word.size() > 1 && word[0] == stem && word.find_first_not_of("0123456789", 1) == word.npos;
}

inline Told read_prompt(const std::string& text, bool english) {
  Told told;
  const auto w = words_of(text);
  for (size_t i = 0; i + 1 < w.size(); ++i) {
    if (w[i] == (english ? "Section" : "topic")) {
      told.sections.emplace_back();
    } else if (english && i + 4 < w.size() && w[i + 2] == "to" && w[i + 3] == "the") {
      told.sections.back().emplace_back(w[i], bare(w[i + 4]));
    } else if (!english && is_numbered(w[i], 'k') && is_numbered(w[i + 1], 'v')) {
      told.sections.back().emplace_back(w[i], w[i + 1]);
    } else if (english && w[i] == "Keep") {  // "Keep track of where A, B and C are, ..."
      for (i += 4; w[i] != "are,"; ++i) {
        if (w[i] != "and") told.cast.insert(bare(w[i]));
      }
    } else if (!english && w[i] == "holds") {
      told.cast.insert(w[i + 1]);
    } else if (w[i] == (english ? "Where" : "lookup")) {
      told.asked = w[i + 2];
    }
  }
  return told;
}

inline Trace read_trace(const std::string& text, bool english) {
  static const std::set<std::string> kHeadings = {
      "Memory", "Part", "Merged", "Answer:", "next", "about", "again", "answer"};
  Trace trace;
  const auto w = words_of(text);
  for (size_t i = 0; i < w.size(); ++i) {
    // English headings begin a line; "about" is a word of its sentences too.
    if (kHeadings.contains(w[i]) && english == (w[i][0] < 'a')) {
      trace.headings.push_back(w[i]);
      trace.steps.emplace_back();
      trace.entries.push_back(0);
      trace.words.push_back(0);
    }
    ++trace.words.back();
    std::pair<std::string, std::string> entry;
    if (english && i + 4 < w.size() && w[i + 1] == "is" && w[i + 2] == "in") {
      entry = {w[i], bare(w[i + 4])};
    } else if (!english && i + 1 < w.size() && is_numbered(w[i], 'k')) {
      entry = {w[i], w[i + 1]};
    } else {
      continue;
    }
    trace.steps.back().insert(entry);
    ++trace.entries.back();
  }
  // The answer is no memory.
  trace.answer = *trace.steps.back().begin();
  trace.steps.pop_back();
  trace.entries.pop_back();
  trace.words.pop_back();
  trace.headings.pop_back();
  return trace;
}

}  // namespace elastron::reward
