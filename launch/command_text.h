// The program's arguments as plain data: what the manual page and the shell's completion are made
// of, so that neither is kept by hand.
#pragma once
#include <string>
#include <vector>

namespace elastron::launch::cli {

struct OptionText {
  std::vector<std::string> names;  // "--set", "-h"; of an argument by place its name: "CONFIG"
  bool by_place = false;
  std::string kind;                // of value, as in "TEXT"; empty: a flag
  std::vector<std::string> words;  // all that it takes, where these are words
  std::string limits;              // of a number, as in "1 - 64"
  std::string fallback;            // its value where it is not given; empty: none
  std::string doc;
  bool required = false, repeats = false;  // repeats: values may follow each other
};

struct CommandText {
  std::string name, doc;
  std::vector<OptionText> options;
  std::vector<CommandText> commands;
};

}  // namespace elastron::launch::cli
