import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import type { Plan, Slice } from '../api/client';
import { rolloutQuery, slicesQuery } from '../queries';
import { Forest } from '../ui/forest';
import { Asking, Panel } from '../ui/shell';
import { Status } from '../ui/status';
import { change, evidence, interval, type Judged, number, percent, prose, scaleOf, limitText } from '../words';

/** Explain ranks the values of segments and sources by their evidence of harm; what holds the same requests is one row. */
export function Explain() {
  const { name } = useParams({ from: '/r/$name/explain' });
  const { guardrail } = useSearch({ from: '/r/$name/explain' });
  const go = useNavigate({ from: '/r/$name/explain' });
  const { data: view, error } = useQuery(rolloutQuery(name));
  const { data: slices, error: refused } = useQuery(slicesQuery(name));
  if (!view || !slices) return <><h1>{name}</h1><Asking error={error ?? refused} what="the slices" /></>;
  const { plan, state } = view.status;
  const rails = [...new Set(slices.map((s) => s.guardrail))];
  const shown = guardrail ? slices.filter((s) => s.guardrail === guardrail) : slices;
  const top = shown[0];
  return (
    <>
      <div className="head">
        <div className="title"><h1 data-testid="finding">{title(top)}</h1></div>
        <div className="actions"><Link to="/r/$name/compare" params={{ name }} search={top ? { guardrail: top.guardrail, value: top.value } : {}} className="btn">Compare</Link></div>
      </div>
      <p className="state">{state.cause?.sentence ? prose(state.cause.sentence) : 'The rollout has decided nothing against the candidate.'}</p>
      {rails.length > 1 && (
        <div className="filters" style={{ marginTop: 10 }}>
          <label>Guardrail<select className="field" value={guardrail ?? ''} onChange={(e) => void go({ search: { guardrail: e.target.value || undefined }, replace: true })}><option value="">all</option>{rails.map((r) => <option key={r}>{r}</option>)}</select></label>
        </div>
      )}
      <Panel title="Segments and sources" sub="strongest evidence of harm first; all of them share the rollout's one error bound">
        {shown.length ? <Ranking name={name} list={shown} plan={plan} /> : <p className="empty">No guardrail of this rollout weighs evidence by segment or source.</p>}
      </Panel>
      <p style={{ marginTop: 12 }}><Link to="/r/$name" params={{ name }}>Back to the rollout</Link></p>
    </>
  );
}

const label = (s: { value?: string }) => s.value?.replace('=', ' = ') ?? 'all requests';

function title(s?: Slice): string {
  if (!s || (s.result !== 'fail' && (s.logE ?? 0) < likely)) return 'No segment or source stands out';
  const part = s.share >= 0.005 ? `${percent(Math.round(100 * s.share))} of the evidence of harm` : 'the most evidence of harm';
  return s.result === 'fail' ? `${label(s)} carries ${part}` : `${label(s)} has ${part} so far, not enough to decide`;
}

/** likely is the evidence from which a slice is called likely worse: ten to one. */
const likely = Math.log(10);

/** finding says how sure the evidence of one slice is. */
function finding(s: Slice): Judged {
  if (s.result === 'fail') return { tone: 'fail', word: 'Worse, certain' };
  if (s.result === 'no-data') return { tone: 'none', word: 'No data' };
  if (!s.nExposed || !s.nBaseline) return { tone: 'none', word: 'Collecting' };
  if ((s.logE ?? 0) >= likely && s.effect > s.limit) return { tone: 'warn', word: 'Worse, likely' };
  return s.upper != null && s.upper < 0 ? { tone: 'ok', word: 'Better' } : { tone: 'ok', word: 'No sign' };
}

const limitShown = 20;

function Ranking({ name, list, plan }: { name: string; list: Slice[]; plan: Plan }) {
  const total = (g: string) => list.find((s) => s.guardrail === g && s.dim === 'total')?.nExposed ?? 0;
  return (
    <div className="scroll">
      <table className="stack" data-testid="slices">
        <thead><tr><th className="num">#</th><th>Finding</th><th>Segment or source</th><th className="num">Requests</th>
          <th><span className="vh">Difference against limit</span><span aria-hidden="true" style={{ display: 'flex', width: 120 }}><span style={{ width: 40, textAlign: 'right' }}>0</span><span style={{ width: 53, textAlign: 'right' }}>limit</span></span></th>
          <th className="num">Difference</th><th>Interval</th><th className="num">Carries</th><th>Evidence</th><th /></tr></thead>
        <tbody>{list.slice(0, limitShown).map((s, i) => {
          const scale = scaleOf(s, plan), f = finding(s), all = total(s.guardrail);
          return (
            <tr key={`${s.guardrail} ${s.value}`} className={s.result === 'fail' ? 'hot' : undefined} data-slice={s.value ?? ''}>
              <td className="num t3">{i + 1}</td>
              <td className="keep nw"><Status tone={f.tone}>{f.word}</Status></td>
              <td className="full"><b className="m">{label(s)}</b><span className="two">{s.guardrail}{s.same?.length ? `, the same requests as ${s.same.map(label).join(', ')}` : ''}</span></td>
              <td className="num">{all ? percent(Math.round(1000 * s.nExposed / all) / 10) : number(s.nExposed)}</td>
              <td><Forest effect={s.nExposed && s.nBaseline ? s.effect : undefined} lower={s.lower} upper={s.upper} limit={s.limit} label={`difference ${change(s.effect, scale)}, limit ${limitText(s.limit, scale)}`} /></td>
              <td className="num keepend">{s.nExposed && s.nBaseline ? change(s.effect, scale) : '–'}</td>
              <td className="nw t2 s12">{interval(s.lower, s.upper, scale)}</td>
              <td className="num">{percent(Math.round(100 * s.share))}</td>
              <td className="nw t2 s12">{evidence(s.logE, s.level)}</td>
              <td className="num"><Link to="/r/$name/compare" params={{ name }} search={{ guardrail: s.guardrail, value: s.value }} className="btn sm" aria-label={`Compare ${label(s)} in ${s.guardrail}`}>Compare</Link></td>
            </tr>
          );
        })}</tbody>
      </table>
      {list.length > limitShown && <p className="empty">{list.length - limitShown} more with less evidence; <code>sluice slices {name}</code> lists them.</p>}
    </div>
  );
}
