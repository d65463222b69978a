// The table of docs/method.md, Results table, for five sample rows.
#pragma once
#include <string>
#include <vector>

namespace elastron::reward::test {

inline const std::vector<std::string> kSampleFiles = {
    "Long-context_Reasoning", "Multi-turn_Dialogue_Understanding", "Long-form_Generation"};

inline const std::string kSampleTable =
    ",Task,S-Drop,P-Noise,Long-context_Reasoning,Mem0-MEM,Multi-turn_Dialogue_Understanding,"
    "parallel,Long-form_Generation,Avg.\n"
    "0,8k,0.0,1.0,0.5,1.0,1.0,1.0,1.0,0.75\n"
    "1,16k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0\n"
    "2,32k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0\n"
    "3,64k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,0.0,0.0\n"
    "4,128k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0\n"
    "5,AVG.,0.0,1.0,0.5,1.0,1.0,1.0,0.5,0.6\n";

}  // namespace elastron::reward::test
