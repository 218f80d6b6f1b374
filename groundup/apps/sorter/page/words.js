/** The page in English and Chinese. */

import { prefer, preference } from "./base/preferences.js";

const WORDS = {
  title: ["The sorter, simulated", "分拣线（仿真）"],
  stop: ["Stop", "停止"],
  stopKey: ["Stop the line (Esc)", "停止生产线（Esc）"],
  resume: ["Resume", "恢复运行"],
  other: ["中文", "English"],
  colours: ["Colours", "配色"],
  auto: ["as the system", "跟随系统"],
  light: ["light", "浅色"],
  dark: ["dark", "深色"],
  running: ["Running", "运行中"],
  held: ["Held: ", "暂停："],
  stopped: ["Stopped: ", "已停止："],
  lost: ["No connection to the line: these data are old", "与生产线的连接中断：画面为旧数据"],
  unconfirmed: ["The line has not confirmed that. Use the switch at the machine.", "生产线未确认该指令，请使用现场急停开关。"],
  again: ["The line was stopped again. Check it, then resume again.", "生产线再次停止，请检查后再恢复运行。"],
  camera: ["Camera", "相机"],
  picture: ["The belt from above", "传送带俯视图"],
  detections: ["Detections", "检测到的物品"],
  nothing: ["Nothing", "无"],
  line: ["The line from above", "生产线俯视图"],
  lineWords: ["Belt, camera's view, bins and arm", "传送带、相机视野、箱子和机械臂"],
  armAt: ["Arm at", "机械臂位置"],
  figures: ["Figures on the simulated line", "仿真生产线的指标"],
  picks: ["Picks a minute", "每分钟拣选数"],
  purity: ["Purity", "纯度"],
  recovery: ["Recovery", "回收率"],
  confidence: ["Confidence", "置信度"],
  belt: ["Belt, m/s", "带速，米/秒"],
  time: ["Time, s", "时间，秒"],
  policy: ["Sorting policy", "分拣规则"],
  order: ["Order in English or Chinese", "用中文或英文下指令"],
  example: ["brown glass to bin 3, leave paper today", "把电池单独放到红色箱子"],
  send: ["Send", "发送"],
  question: ["Question: ", "请问："],
  confirm: ["Did you mean this? Nothing changes before a yes: ", "是这个意思吗？确认后才执行："],
  waiting: ["An order that waits for a yes", "待确认的指令"],
  yes: ["Yes, do that", "是，执行"],
  no: ["No", "否"],
  cancelled: ["Dropped. The sorting policy is as before.", "已取消，分拣规则不变。"],
  over: ["That order waits no longer. Give it again.", "该指令已失效，请重新下达。"],
  by: ["understood by ", "理解模型："],
  refusal: ["Refused: ", "已拒绝："],
  changed: ["Done. The sorting policy has changed.", "已执行，分拣规则已更新。"],
  unanswered: ["No answer. The sorting policy above holds. ", "未收到答复，以上方的分拣规则为准。"],
  bins: ["Bins", "箱子"],
  bin: ["Bin", "箱"],
  inside: ["Contents", "箱内物品"],
  count: ["Pieces", "件数"],
  manual: ["by hand", "人工"],
  log: ["Event log", "事件记录"],
  spawned: ["arrived", "到达"],
  picked: ["picked", "拣起"],
  slipped: ["slipped", "未吸住"],
  dropped: ["dropped", "掉落"],
  released: ["released", "放下"],
  binned: ["binned", "入箱"],
  passed: ["passed", "漏过"],
  "order: policy": ["order carried out", "指令已执行"],
  "order: question": ["order asked back", "指令被反问"],
  "order: confirm": ["order waits for a yes", "指令待确认"],
  "order: dropped": ["order dropped", "指令已取消"],
  "order: refusal": ["order refused", "指令被拒绝"],
};

const browser = (navigator.languages?.[0] ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";
export let language = preference("language") === "zh" || preference("language") === "en" ? preference("language") : browser;
document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";

/** Switch to the other language. */
export function switchLanguage() {
  language = language === "en" ? "zh" : "en";
  prefer("language", language);
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
}

/** A text of the page in the current language; an unknown key stands for itself. */
export function t(key) {
  return Object.hasOwn(WORDS, key) ? WORDS[key][language === "zh" ? 1 : 0] : String(key);
}
