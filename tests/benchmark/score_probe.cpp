// Answers each line of standard input, a case of tests/benchmark/scored_case.h, with a line.
#include <cstdio>
#include <exception>
#include <iostream>

#include "tests/benchmark/scored_case.h"

int main() {
  try {
    std::string line;
    while (std::getline(std::cin, line)) {
      std::puts(elastron::test::said(nlohmann::json::parse(line)).dump().c_str());
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "score_probe: %s\n", error.what());
    return 1;
  }
}
