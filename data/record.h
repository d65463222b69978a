// One raw training example (docs/method.md, Documents).
#pragma once
#include <string>

namespace elastron::data {

struct Record {
  std::string context;
  std::string question;
  std::string answer;
  std::string task;       // one of kTaskNames
  std::string kind;       // finer name for reports; empty: the task
  bool is_prefix = true;  // the question stands before the context
};

}  // namespace elastron::data
