import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router';
import { Overview } from './pages/overview';
import { Shell } from './ui/shell';

interface Crumb { word: string; to?: string }

declare module '@tanstack/react-router' {
  interface Register { router: typeof router }
  interface StaticDataRouteOption { crumbs?: (params: Record<string, string>) => Crumb[] }
}

const root = createRootRoute({ component: Shell, notFoundComponent: () => <><h1>No such page</h1><p className="state">The address names nothing that this version shows.</p></> });
const text = (x: unknown) => (typeof x === 'string' && x ? x : undefined);
const rollouts: Crumb = { word: 'Rollouts', to: '/rollouts' };

const routes = [
  createRoute({ getParentRoute: () => root, path: '/', component: Overview, staticData: { crumbs: () => [{ word: 'Overview' }] } }),
  createRoute({
    getParentRoute: () => root, path: '/rollouts', component: lazyRouteComponent(() => import('./pages/rollouts'), 'Rollouts'),
    staticData: { crumbs: () => [{ word: 'Rollouts' }] },
  }),
  createRoute({
    getParentRoute: () => root, path: '/r/$name', component: lazyRouteComponent(() => import('./pages/rollout'), 'Rollout'),
    staticData: { crumbs: (p) => [rollouts, { word: p.name }] },
    validateSearch: (s: Record<string, unknown>): { record?: number } => ({ record: Number(s.record) || undefined }),
  }),
  createRoute({
    getParentRoute: () => root, path: '/r/$name/rollback', component: lazyRouteComponent(() => import('./pages/rollback'), 'Rollback'),
    staticData: { crumbs: (p) => [rollouts, { word: p.name, to: `/r/${p.name}` }, { word: 'Rollback' }] },
  }),
  createRoute({
    getParentRoute: () => root, path: '/r/$name/compare', component: lazyRouteComponent(() => import('./pages/compare'), 'Compare'),
    staticData: { crumbs: (p) => [rollouts, { word: p.name, to: `/r/${p.name}` }, { word: 'Compare' }] },
    validateSearch: (s: Record<string, unknown>): { guardrail?: string; value?: string; view?: 'table' } => ({ guardrail: text(s.guardrail), value: text(s.value), view: s.view === 'table' ? 'table' : undefined }),
  }),
  createRoute({
    getParentRoute: () => root, path: '/r/$name/explain', component: lazyRouteComponent(() => import('./pages/explain'), 'Explain'),
    staticData: { crumbs: (p) => [rollouts, { word: p.name, to: `/r/${p.name}` }, { word: 'Explain' }] },
    validateSearch: (s: Record<string, unknown>): { guardrail?: string } => ({ guardrail: text(s.guardrail) }),
  }),
  createRoute({
    getParentRoute: () => root, path: '/components', component: lazyRouteComponent(() => import('./pages/components'), 'Components'),
    staticData: { crumbs: () => [{ word: 'Components' }] },
  }),
  createRoute({
    getParentRoute: () => root, path: '/audit', component: lazyRouteComponent(() => import('./pages/audit'), 'Audit'),
    staticData: { crumbs: () => [{ word: 'Audit' }] },
    validateSearch: (s: Record<string, unknown>): { rollout?: string; kind?: string; before?: number } => ({
      rollout: text(s.rollout),
      kind: text(s.kind),
      before: Number(s.before) || undefined,
    }),
  }),
];

export const router = createRouter({ routeTree: root.addChildren(routes), scrollRestoration: true });
